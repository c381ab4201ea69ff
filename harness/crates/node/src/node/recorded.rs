//! Compares our messages with recordings of what real servers were asked and answered.
//!
//! `recorded/README.md` says how to make the recordings. A field that is read under a wrong number,
//! or that is lost, changes the snapshot of its method.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Debug,
    fs, iter,
    marker::PhantomData,
    path::PathBuf,
    sync::{Mutex, PoisonError},
};

use prost::{
    Message,
    bytes::{Buf, BufMut},
    encoding::{WireType, decode_key, decode_varint},
};
use tonic::{
    Status,
    codec::{self, DecodeBuf, Decoder, EncodeBuf, Encoder},
};

mod record;

/// The messages of each method and direction, by the name of their file.
static RECORDED: Mutex<Option<BTreeMap<String, Vec<u8>>>> = Mutex::new(None);

/// A codec that keeps the messages once [`record`] has started a recording.
pub(super) fn codec<Q, A>(path: &'static str) -> Recording<Q, A> {
    Recording(path, PhantomData)
}

#[derive(Debug)]
pub(super) struct Recording<Q, A>(&'static str, PhantomData<(Q, A)>);

impl<Q: Message + 'static, A: Message + Default + 'static> codec::Codec for Recording<Q, A> {
    type Encode = Q;
    type Decode = A;
    type Encoder = Recording<Q, A>;
    type Decoder = Recording<Q, A>;

    fn encoder(&mut self) -> Self::Encoder {
        codec(self.0)
    }

    fn decoder(&mut self) -> Self::Decoder {
        codec(self.0)
    }
}

impl<Q: Message, A> Encoder for Recording<Q, A> {
    type Item = Q;
    type Error = Status;

    fn encode(&mut self, item: Q, to: &mut EncodeBuf<'_>) -> Result<(), Status> {
        let bytes = item.encode_to_vec();
        keep(self.0, "request", &bytes);
        to.put_slice(&bytes);
        Ok(())
    }
}

impl<Q, A: Message + Default> Decoder for Recording<Q, A> {
    type Item = A;
    type Error = Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<A>, Status> {
        let bytes = from.copy_to_bytes(from.remaining());
        keep(self.0, "answer", &bytes);
        let answer = A::decode(bytes);
        answer
            .map(Some)
            .map_err(|error| Status::internal(error.to_string()))
    }
}

/// Appends a message in gRPC's framing: one byte for the compression, four for the length.
fn keep(path: &str, direction: &str, message: &[u8]) {
    let mut recorded = RECORDED.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(files) = &mut *recorded {
        let service = path.rsplit('.').next().unwrap_or(path);
        let name = format!("{}.{direction}.bin", service.replace('/', "."));
        let file = files.entry(name).or_default();
        let length = u32::try_from(message.len()).expect("a message must be short");
        file.put_u8(0);
        file.put_u32(length);
        file.put_slice(message);
    }
}

/// The folder of all recordings, which is beside this file.
fn folder() -> PathBuf {
    let file = PathBuf::from(file!()).with_extension("");
    let crate_folder = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let mut above = crate_folder.ancestors().map(|folder| folder.join(&file));
    above
        .find(|folder| folder.is_dir())
        .expect("it must be there")
}

/// The requests and answers of a method, such as `Images.Get`, in each recording, as our messages
/// decode them; with the numbers of the fields that our messages do not have.
pub(crate) fn shown<Q: Message + Default + Debug, A: Message + Default + Debug>(
    method: &str,
) -> String {
    let mut servers: Vec<_> = fs::read_dir(folder())
        .expect("must be read")
        .map(|entry| entry.expect("must be read").path())
        .filter(|path| path.is_dir())
        .collect();
    servers.sort();
    let mut text = String::new();
    for server in servers {
        let file = |direction| fs::read(server.join(format!("{method}.{direction}.bin"))).ok();
        let (Some(asked), Some(answered)) = (file("request"), file("answer")) else {
            continue;
        };
        let name = server.file_name().expect("it must have a name");
        text += &format!("{}\n", name.display());
        let left_out = read_all::<Q>(&asked, "<-", &mut text);
        assert!(left_out.is_empty(), "we asked for {left_out:?}");
        let left_out = read_all::<A>(&answered, "->", &mut text);
        if !left_out.is_empty() {
            text += &format!("left out: {}\n", Vec::from_iter(left_out).join(" "));
        }
    }
    assert!(!text.is_empty(), "{method} must be recorded");
    text
}

/// Decodes all messages of a file; returns the numbers of the fields that our messages do not have.
fn read_all<M: Message + Default + Debug>(
    frames: &[u8],
    mark: &str,
    text: &mut String,
) -> BTreeSet<String> {
    let mut left_out = BTreeSet::new();
    for message in messages(frames) {
        let ours = M::decode(message).expect("a real message must be read");
        *text += &format!("{mark} {}\n", shorten(&format!("{ours:?}")));
        compare(&ours.encode_to_vec(), message, "", &mut left_out);
    }
    left_out
}

fn messages(mut frames: &[u8]) -> impl Iterator<Item = &[u8]> {
    iter::from_fn(move || {
        let (head, rest) = frames.split_first_chunk::<5>()?;
        let length = u32::from_be_bytes([head[1], head[2], head[3], head[4]]) as usize;
        let (message, rest) = rest.split_at(length);
        frames = rest;
        Some(message)
    })
}

/// Shortens quoted texts to the length that a reader of a snapshot needs.
fn shorten(text: &str) -> String {
    const ENOUGH: usize = 100;
    let parts = text
        .split('"')
        .map(|part| match part.char_indices().nth(ENOUGH) {
            Some((end, _)) if !part.contains(" { ") => format!("{}…", &part[..end]),
            _ => part.to_owned(),
        });
    parts.collect::<Vec<_>>().join("\"")
}

/// Asserts that each field of our message has the same value in the real one. The numbers of fields
/// that only the real message has go to `left_out`; the number of an inner field follows that of
/// its outer field.
fn compare(ours: &[u8], real: &[u8], path: &str, left_out: &mut BTreeSet<String>) {
    let fields = |bytes| fields(bytes).unwrap_or_else(|| panic!("{path} is no message"));
    let (mut ours, real) = (fields(ours), fields(real));
    for (number, mut real) in real {
        let path = format!("{path}{number}");
        let Some(mut ours) = ours.remove(&number) else {
            left_out.insert(path);
            continue;
        };
        assert_eq!(ours.len(), real.len(), "field {path} was read in part");
        // The entries of a map have no order, so compare without it.
        ours.retain(|value| match real.iter().position(|real| real == value) {
            Some(at) => {
                real.remove(at);
                false
            }
            None => true,
        });
        for (ours, real) in ours.iter().zip(&real) {
            compare(ours, real, &format!("{path}."), left_out);
        }
    }
    assert!(
        ours.is_empty(),
        "fields {path}{:?} are not real",
        ours.keys()
    );
}

/// The values of a message's fields by field number, each with its wire type; `None` if the bytes
/// are no message.
fn fields(mut bytes: &[u8]) -> Option<BTreeMap<u32, Vec<Vec<u8>>>> {
    let mut fields: BTreeMap<u32, Vec<Vec<u8>>> = BTreeMap::new();
    while !bytes.is_empty() {
        let (number, kind) = decode_key(&mut bytes).ok()?;
        let value = match kind {
            WireType::Varint => decode_varint(&mut bytes).ok()?.to_be_bytes().to_vec(),
            WireType::LengthDelimited => {
                let length = usize::try_from(decode_varint(&mut bytes).ok()?).ok()?;
                let (value, rest) = bytes.split_at_checked(length)?;
                bytes = rest;
                value.to_vec()
            }
            _ => return None,
        };
        fields.entry(number).or_default().push(value);
    }
    Some(fields)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Clone, PartialEq, Message)]
    struct Inner {
        #[prost(string, tag = "1")]
        name: String,
    }

    #[derive(Clone, PartialEq, Message)]
    struct Outer {
        #[prost(message, repeated, tag = "2")]
        inner: Vec<Inner>,
    }

    fn left_out<M: Message + Default + Debug>(message: &[u8]) -> Vec<String> {
        let mut frames = vec![0, 0, 0, 0, message.len() as u8];
        frames.extend(message);
        read_all::<M>(&frames, "", &mut String::new())
            .into_iter()
            .collect()
    }

    #[test]
    fn fields_that_are_not_read_are_told_by_their_numbers() {
        assert!(left_out::<Outer>(b"\x12\x03\x0a\x01a\x12\x03\x0a\x01b").is_empty());
        let message = b"\x08\x01\x12\x05\x0a\x01a\x10\x01";
        assert_eq!(left_out::<Outer>(message), ["1", "2.2"]);
    }
}
