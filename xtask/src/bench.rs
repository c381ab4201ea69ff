//! `bench`: the benchmark programs of the harness.

use kubenest_runner::process;

use crate::program;
use crate::workspace::Workspace;

/// Runs `harness/examples/<example>.rs` with these arguments.
pub(crate) fn run(workspace: &Workspace, example: &str, args: &[String]) -> anyhow::Result<u8> {
    let mut command = workspace.cargo();
    command.args(["run", "--package", "kubenest", "--example", example, "--"]);
    Ok(program::exit_code(process::run(command.args(args))?))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    /// No other build would notice that one is missing.
    #[test]
    fn the_benchmark_programs_exist() {
        let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../harness/examples");
        for program in ["bench_boot", "bench_images"] {
            assert!(examples.join(program).with_extension("rs").is_file());
        }
    }
}
