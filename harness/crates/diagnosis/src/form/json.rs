//! JSON records, one object per line: journalctl, Docker's log files of containers, and the JSON
//! logs of containerd, etcd and Kubernetes.

use std::fmt;

use jiff::Timestamp;
use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, Visitor},
};
use serde_json::Value;

use super::{Record, program};
use crate::Speaker;

/// An object whose fields keep their order.
pub(crate) struct Object(pub(crate) Vec<(String, Value)>);

/// Reads an object of one of these kinds; `None` for any other.
pub(super) fn record(line: &str) -> Option<Record> {
    if !line.ends_with('}') {
        return None;
    }
    let object: Object = serde_json::from_str(line).ok()?;
    record_of_object(&object)
}

/// Reads an object.
pub(crate) fn record_of_object(object: &Object) -> Option<Record> {
    object
        .journal()
        .or_else(|| object.container())
        .or_else(|| object.log())
}

impl Object {
    fn get(&self, key: &str) -> Option<&Value> {
        let mut fields = self.0.iter();
        fields.find(|field| field.0 == key).map(|field| &field.1)
    }

    fn text(&self, keys: &[&str]) -> Option<String> {
        keys.iter().find_map(|key| text(self.get(key)?))
    }

    /// An entry of the journal: `journalctl -o json`, `-o export` and `-o verbose`.
    fn journal(&self) -> Option<Record> {
        let of_journal = |key: &str| key.starts_with("__") || key.starts_with("_SYSTEMD");
        self.0.iter().find(|field| of_journal(&field.0))?;
        let message = self.text(&["MESSAGE"])?;
        let time = self.text(&["__REALTIME_TIMESTAMP", "_SOURCE_REALTIME_TIMESTAMP"]);
        let time = time.and_then(|time| Timestamp::from_microsecond(time.parse().ok()?).ok());
        let names = ["SYSLOG_IDENTIFIER", "_COMM", "_SYSTEMD_UNIT", "UNIT"];
        let names = names.iter().filter_map(|key| self.text(&[key]));
        let known = |name: &String| program::source(name) != Speaker::System;
        Some(Record {
            message,
            time: time.map(|time| time.to_string()),
            node: self.text(&["_HOSTNAME"]),
            source: Some(
                names
                    .into_iter()
                    .find(known)
                    .map_or(Speaker::System, |name| program::source(&name)),
            ),
            ..Record::default()
        })
    }

    /// A container's output in Docker's log files, or from a log collector that adds the pod.
    fn container(&self) -> Option<Record> {
        let message = self.text(&["log"])?;
        self.get("stream").or_else(|| self.get("kubernetes"))?;
        Some(Record {
            message: message.trim_end().to_owned(),
            time: self.text(&["time"]),
            source: self.get("kubernetes").map(|_| Speaker::Pod),
            ..Record::default()
        })
    }

    /// A message with a level and other fields, converted to the program's text format.
    fn log(&self) -> Option<Record> {
        const OWN: [&str; 9] = [
            "msg", "message", "time", "ts", "level", "severity", "caller", "v", "logger",
        ];
        let message = self.text(&["msg", "message"])?;
        let marks = ["level", "severity", "time", "ts"];
        marks.iter().find_map(|mark| self.get(mark))?;
        // Kubernetes writes the level as a number or not at all, and quotes all texts.
        let klog = self.get("level").is_none() && self.get("ts").is_some_and(Value::is_number);
        let mut fields = String::new();
        for (key, value) in self.0.iter().filter(|field| !OWN.contains(&&*field.0)) {
            let gap = if fields.is_empty() { "" } else { " " };
            let field = match value {
                Value::String(text) if klog => format!("{gap}{key}=\"{text}\""),
                Value::String(text) => format!("{gap}{key}={text}"),
                other => format!("{gap}{key}={other}"),
            };
            fields.push_str(&field);
        }
        Some(Record {
            message: if klog {
                format!("\"{message}\"")
            } else {
                message
            },
            fields,
            time: self.get("time").or_else(|| self.get("ts")).and_then(text),
            ..Record::default()
        })
    }
}

/// A text. The journal writes text that is not UTF-8 as a list of bytes, and repeated fields as a
/// list of texts.
fn text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Array(parts) => {
            let bytes: Option<Vec<u8>> = parts
                .iter()
                .map(|byte| byte.as_u64()?.try_into().ok())
                .collect();
            match bytes {
                Some(bytes) => Some(String::from_utf8_lossy(&bytes).into_owned()),
                None => text(parts.first()?),
            }
        }
        _ => None,
    }
}

impl<'de> Deserialize<'de> for Object {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Fields;
        impl<'de> Visitor<'de> for Fields {
            type Value = Object;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Object, A::Error> {
                let mut fields = Vec::new();
                while let Some(field) = map.next_entry()? {
                    fields.push(field);
                }
                Ok(Object(fields))
            }
        }
        deserializer.deserialize_map(Fields)
    }
}
