//! The engine's client. Every call to the engine is listed in a table here, with the bound within
//! which its answer must come.

use std::time::Duration;

use bollard::{
    auth::DockerCredentials,
    body_full,
    container::{AttachContainerResults, LogOutput},
    errors::Error as EngineError,
    exec::{CreateExecResults, StartExecOptions, StartExecResults},
    models::{
        BuildInfo, ContainerCreateBody, ContainerCreateResponse, ContainerInspectResponse,
        ContainerSummary, CreateImageInfo, DistributionInspect, ExecConfig, ExecInspectResponse,
        ImageDeleteResponseItem, ImageInspect, ImageSummary, Network, NetworkConnectRequest,
        NetworkCreateRequest, NetworkCreateResponse, NetworkInspect, PushImageInfo, SystemInfo,
        SystemVersion, Volume, VolumeCreateRequest, VolumeListResponse,
    },
    query_parameters::{
        AttachContainerOptions, CreateContainerOptions, CreateImageOptions,
        DownloadFromContainerOptions, ImportImageOptions, InspectContainerOptions,
        InspectNetworkOptions, KillContainerOptions, ListContainersOptions, ListImagesOptions,
        ListNetworksOptions, ListVolumesOptions, LogsOptions, PushImageOptions,
        RemoveContainerOptions, RemoveImageOptions, RemoveVolumeOptions, StartContainerOptions,
        StopContainerOptions, TagImageOptions, UploadToContainerOptions,
    },
};
use bytes::Bytes;
use futures::{Stream, StreamExt, stream};

use kubenest_base::wait::Deadline;

/// Bound of calls that the engine answers by a look-up or passes on.
const QUICK: Duration = Duration::from_secs(60);
/// Bound of calls that move files or wait for processes to end. In a stream it is the bound of each
/// piece.
const SLOW: Duration = Duration::from_secs(300);
/// Bound of an image load: the engine sends nothing until it has unpacked the image.
const LOAD: Duration = Duration::from_secs(30 * 60);
/// bollard's own timeout in seconds. It is one value for all calls, so it is set too long to ever
/// be reached first.
pub(super) const NEVER: u64 = 7 * 24 * 3600;

type Answer<T> = Result<T, EngineError>;

/// A client that returns each answer within its bound, or an error.
#[derive(Debug, Clone)]
pub(super) struct Client(bollard::Docker);

/// Calls with one answer, each with the bound of that answer.
macro_rules! answers {
    ($($bound:ident $name:ident($($arg:ident: $kind:ty),*) -> $answer:ty;)*) => {
        impl Client {$(
            pub(super) async fn $name(&self, $($arg: $kind),*) -> Answer<$answer> {
                in_time($bound, self.0.$name($($arg),*)).await
            }
        )*}
    };
}

/// Calls with a stream of answers, each with the bound of one piece.
macro_rules! streams {
    ($($bound:ident $name:ident($($arg:ident: $kind:ty),*) -> $item:ty;)*) => {
        impl Client {$(
            pub(super) fn $name(
                &self,
                $($arg: $kind),*
            ) -> impl Stream<Item = Answer<$item>> + Send + Unpin + use<> {
                steady($bound, self.0.$name($($arg),*))
            }
        )*}
    };
}

answers! {
    QUICK info() -> SystemInfo;
    QUICK version() -> SystemVersion;
    SLOW create_container(options: Option<CreateContainerOptions>, body: ContainerCreateBody)
        -> ContainerCreateResponse;
    SLOW start_container(name: &str, options: Option<StartContainerOptions>) -> ();
    QUICK kill_container(name: &str, options: Option<KillContainerOptions>) -> ();
    SLOW remove_container(name: &str, options: Option<RemoveContainerOptions>) -> ();
    QUICK inspect_container(name: &str, options: Option<InspectContainerOptions>)
        -> ContainerInspectResponse;
    QUICK list_containers(options: Option<ListContainersOptions>) -> Vec<ContainerSummary>;
    QUICK attach_container(name: &str, options: Option<AttachContainerOptions>)
        -> AttachContainerResults;
    QUICK create_exec(name: &str, config: ExecConfig) -> CreateExecResults;
    QUICK start_exec(id: &str, options: Option<StartExecOptions>) -> StartExecResults;
    QUICK inspect_exec(id: &str) -> ExecInspectResponse;
    QUICK create_network(request: NetworkCreateRequest) -> NetworkCreateResponse;
    QUICK inspect_network(name: &str, options: Option<InspectNetworkOptions>) -> NetworkInspect;
    QUICK list_networks(options: Option<ListNetworksOptions>) -> Vec<Network>;
    QUICK remove_network(name: &str) -> ();
    QUICK connect_network(network: &str, request: NetworkConnectRequest) -> ();
    QUICK create_volume(request: VolumeCreateRequest) -> Volume;
    QUICK list_volumes(options: Option<ListVolumesOptions>) -> VolumeListResponse;
    SLOW remove_volume(name: &str, options: Option<RemoveVolumeOptions>) -> ();
    QUICK inspect_image(name: &str) -> ImageInspect;
    QUICK list_images(options: Option<ListImagesOptions>) -> Vec<ImageSummary>;
    QUICK tag_image(name: &str, options: Option<TagImageOptions>) -> ();
    SLOW remove_image(
        name: &str, options: Option<RemoveImageOptions>, login: Option<DockerCredentials>
    ) -> Vec<ImageDeleteResponseItem>;
    QUICK inspect_registry_image(name: &str, login: Option<DockerCredentials>)
        -> DistributionInspect;
}

streams! {
    SLOW logs(name: &str, options: Option<LogsOptions>) -> LogOutput;
    SLOW download_from_container(name: &str, options: Option<DownloadFromContainerOptions>)
        -> Bytes;
    SLOW push_image(
        name: &str, options: Option<PushImageOptions>, login: Option<DockerCredentials>
    ) -> PushImageInfo;
    SLOW export_image(name: &str) -> Bytes;
}

impl Client {
    pub(super) fn new(raw: bollard::Docker) -> Self {
        Self(raw)
    }

    /// Stops a container, which has `options.t` seconds to end by itself.
    pub(super) async fn stop_container(
        &self,
        name: &str,
        options: Option<StopContainerOptions>,
    ) -> Answer<()> {
        let grace = options.as_ref().and_then(|options| options.t).unwrap_or(10);
        let grace = Duration::from_secs(u64::try_from(grace).unwrap_or(0));
        in_time(SLOW + grace, self.0.stop_container(name, options)).await
    }

    pub(super) async fn upload_to_container(
        &self,
        name: &str,
        options: Option<UploadToContainerOptions>,
        archive: Bytes,
    ) -> Answer<()> {
        let archive = body_full(archive);
        in_time(SLOW, self.0.upload_to_container(name, options, archive)).await
    }

    /// Pulls an image from a registry.
    pub(super) fn create_image(
        &self,
        options: Option<CreateImageOptions>,
        login: Option<DockerCredentials>,
    ) -> impl Stream<Item = Answer<CreateImageInfo>> + Send + Unpin + use<> {
        steady(SLOW, self.0.create_image(options, None, login))
    }

    pub(super) fn import_image_stream(
        &self,
        options: ImportImageOptions,
        archive: impl Stream<Item = std::io::Result<Bytes>> + Send + 'static,
    ) -> impl Stream<Item = Answer<BuildInfo>> + Send + Unpin {
        steady(LOAD, self.0.import_image_stream(options, archive, None))
    }

    /// As `export_image`, with query parameters that bollard does not offer.
    pub(super) fn export_image_where(
        &self,
        name: &str,
        query: String,
    ) -> impl Stream<Item = Answer<Bytes>> + Send + Unpin + use<> {
        let asked = self.0.clone().with_request_modifier(move |mut request| {
            if let Ok(uri) = format!("{}?{query}", request.uri()).parse() {
                *request.uri_mut() = uri;
            }
            request
        });
        steady(SLOW, asked.export_image(name))
    }
}

/// Waits for an answer, and returns an error when it does not come within the bound.
fn in_time<T>(
    bound: Duration,
    answer: impl Future<Output = Answer<T>>,
) -> impl Future<Output = Answer<T>> {
    let answer = Box::pin(answer);
    async move {
        let deadline = Deadline::begin(bound);
        let answered = deadline.give(answer).await;
        answered.unwrap_or_else(|| Err(late(&deadline)))
    }
}

/// A stream that ends with an error when its next piece does not come within the bound.
fn steady<T: Send>(
    bound: Duration,
    pieces: impl Stream<Item = Answer<T>> + Send + 'static,
) -> impl Stream<Item = Answer<T>> + Send + Unpin {
    let pieces = Some(Box::pin(pieces));
    Box::pin(stream::unfold(pieces, move |pieces| async move {
        let mut pieces = pieces?;
        let deadline = Deadline::begin(bound);
        match deadline.give(pieces.next()).await {
            Some(piece) => Some((piece?, Some(pieces))),
            None => Some((Err(late(&deadline)), None)),
        }
    }))
}

fn late(deadline: &Deadline) -> EngineError {
    std::io::Error::new(std::io::ErrorKind::TimedOut, deadline.silence()).into()
}
