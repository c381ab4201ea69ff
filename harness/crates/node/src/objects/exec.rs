//! Commands in containers of pods.

use std::time::Duration;

use k8s_openapi::{api::core::v1::Pod, apimachinery::pkg::apis::meta::v1::Status};
use kube::{Api, api::AttachParams};
use tokio::io::{AsyncRead, AsyncReadExt as _};

use super::{ContainerRef, answered};
use kubenest_base::{Error, Result, wait};
use kubenest_docker::ExecOutput;

/// How long a command in a container may take.
const RUN: Duration = Duration::from_secs(5 * 60);

/// Runs a command in a container to its end, with an empty standard input, and accepts any exit status.
/// It may take five minutes.
///
/// # Errors
/// There is no such container, or the command cannot be started: failures of the test. Or the API
/// server or kubelet does not answer, or the command does not end.
pub async fn exec(
    pods: &Api<Pod>,
    container: ContainerRef<'_>,
    argv: Vec<String>,
) -> Result<ExecOutput> {
    let what = format!("run `{}` in {container}", argv.join(" "));
    let params = AttachParams {
        container: container.container.map(str::to_owned),
        ..AttachParams::default()
    };
    let mut process = answered(|| what.clone(), pods.exec(container.pod, argv, &params)).await?;
    let (stdout, stderr, status) = (process.stdout(), process.stderr(), process.take_status());
    let run = async {
        let status = async {
            match status {
                Some(status) => status.await,
                None => None,
            }
        };
        let (stdout, stderr, status) = tokio::join!(read(stdout), read(stderr), status);
        exec_output(&what, status, stdout, &stderr)
    };
    wait::within(&what, RUN, run).await
}

async fn read(stream: Option<impl AsyncRead + Unpin>) -> Vec<u8> {
    let mut bytes = Vec::new();
    if let Some(mut stream) = stream {
        // What arrived before an error counts; the status tells the error.
        stream.read_to_end(&mut bytes).await.ok();
    }
    bytes
}

/// The result of a command, from the status that the kubelet sends at its end.
fn exec_output(
    what: &str,
    status: Option<Status>,
    stdout: Vec<u8>,
    stderr: &[u8],
) -> Result<ExecOutput> {
    let Some(status) = status else {
        return Err(Error::setup(format!(
            "{what}: the stream ended without a status"
        )));
    };
    let causes = status
        .details
        .into_iter()
        .flat_map(|details| details.causes);
    let code = causes.flatten().find_map(|cause| {
        let is_code = cause.reason.as_deref() == Some("ExitCode");
        cause.message.filter(|_| is_code)?.parse().ok()
    });
    let code = match (status.status.as_deref(), code) {
        (Some("Success"), _) => 0,
        (_, Some(code)) => code,
        _ => {
            let words = status.message.unwrap_or_default();
            return Err(Error::setup(format!("{what}: {words}")).asserted());
        }
    };
    let stderr = String::from_utf8_lossy(stderr);
    Ok(ExecOutput::new(code, stdout, stderr))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(status: serde_json::Value) -> String {
        let status = serde_json::from_value(status).unwrap();
        match exec_output("run `a` in pod 'p'", status, b"out".to_vec(), b"err") {
            Ok(output) => format!("{} {} {}", output.status, output.text(), output.stderr),
            Err(error) => error.report(),
        }
    }

    #[test]
    fn the_status_of_a_command_is_what_the_kubelet_says() {
        use serde_json::json;
        insta::assert_snapshot!(shown(json!({"status": "Success"})), @"0 out err");
        let failed = json!({"status": "Failure", "reason": "NonZeroExitCode", "details": {
            "causes": [{"reason": "ExitCode", "message": "3"}]}});
        insta::assert_snapshot!(shown(failed), @"3 out err");
        let missing = json!({"status": "Failure", "reason": "InternalError",
            "message": "exec: \"a\": executable file not found in $PATH"});
        insta::assert_snapshot!(shown(missing), @r#"run `a` in pod 'p': exec: "a": executable file not found in $PATH"#);
        insta::assert_snapshot!(shown(json!(null)), @"run `a` in pod 'p': the stream ended without a status");
    }
}
