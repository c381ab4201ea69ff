//! Options with wrong values.

#[kubenest_macros::test(spec)]
async fn without_a_value(case: Case) {}

#[kubenest_macros::test(spec = a, spec = b)]
async fn twice(case: Case) {}

#[kubenest_macros::test(flavor = "many")]
async fn of_no_flavor(case: Case) {}

#[kubenest_macros::test(flavor = "current_thread", worker_threads = 2)]
async fn of_two_flavors(case: Case) {}

#[kubenest_macros::test(client = my_client)]
async fn without_that_client(case: Case) {}

#[kubenest_macros::test(client = my_client)]
async fn with_two_of_them(a: MyClient, b: MyApi) {}

#[kubenest_macros::test(exclusive = false)]
async fn with_a_flag_off(case: Case) {}

fn main() {}
