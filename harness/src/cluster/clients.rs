//! Clients of a cluster's API server: one for each runtime that asks for one.
//!
//! kube's client works in a task of the runtime in which it was made, and is useless when that
//! runtime has ended. A cluster that several tests share outlives the runtime of each test.

use std::sync::{Mutex, PoisonError};

use kube::{Client, Config};
use tokio::runtime::{Handle, Id};

use kubenest_base::{Context, Result};

/// How many clients are kept. There is a limit because a runtime does not report its end.
const KEPT: usize = 8;

/// The configuration for an API server, and the clients made from it.
pub(super) struct Clients {
    config: Config,
    made: Mutex<Vec<(Id, Client)>>,
}

impl Clients {
    /// Makes clients for the API server of this configuration; the first is for the current
    /// runtime.
    pub(super) fn new(config: Config) -> Result<Self> {
        let client = Client::try_from(config.clone()).context("make a Kubernetes client")?;
        let made = Mutex::new(vec![(Handle::current().id(), client)]);
        Ok(Self { config, made })
    }

    /// Clients for the same API server, to be kept apart from these.
    pub(super) fn try_clone(&self) -> Result<Self> {
        Self::new(self.config.clone())
    }

    /// The client of the current runtime; outside of a runtime, the one made last.
    pub(super) fn here(&self) -> Client {
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        let here = Handle::try_current().map(|runtime| runtime.id());
        let found = match here {
            Ok(here) => made.iter().find(|(runtime, _)| *runtime == here),
            Err(_) => made.last(),
        };
        if let Some((_, client)) = found {
            return client.clone();
        }
        let client = Client::try_from(self.config.clone());
        let client = client.expect("a configuration of one client must do for another");
        if made.len() == KEPT {
            made.remove(0);
        }
        made.extend(here.map(|here| (here, client.clone())));
        client
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io::{Read, Write},
        net::TcpListener,
        thread,
    };

    use tokio::runtime::Runtime;

    use super::*;

    /// An address where each connection is answered once.
    fn api_server() -> Config {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                assert!(stream.read(&mut [0; 4096]).unwrap() > 0);
                let answer = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok";
                stream.write_all(answer.as_bytes()).unwrap();
            }
        });
        Config::new(address.parse().unwrap())
    }

    async fn ask(client: Client) -> kube::Result<String> {
        let request = http::Request::get("/readyz").body(Vec::new()).unwrap();
        client.request_text(request).await
    }

    #[test]
    fn a_cluster_is_used_from_another_runtime_than_the_one_that_booted_it() {
        let config = api_server();
        let first = Runtime::new().unwrap();
        let clients = first.block_on(async { Clients::new(config) }).unwrap();
        assert_eq!(first.block_on(ask(clients.here())).unwrap(), "ok");
        let of_the_first = first.block_on(async { clients.here() });
        drop(first);
        let second = Runtime::new().unwrap();
        let lost = second.block_on(ask(of_the_first)).unwrap_err();
        assert!(lost.to_string().contains("worker"), "{lost}");
        assert_eq!(
            second
                .block_on(async { ask(clients.here()).await })
                .unwrap(),
            "ok"
        );
    }

    #[test]
    fn clients_of_runtimes_that_have_ended_do_not_pile_up() {
        let config = api_server();
        let clients = Runtime::new()
            .unwrap()
            .block_on(async { Clients::new(config) })
            .unwrap();
        for _ in 0..2 * KEPT {
            Runtime::new().unwrap().block_on(async { clients.here() });
        }
        assert_eq!(clients.made.lock().unwrap().len(), KEPT);
    }
}
