//! How typed values keep what they do not understand.
//!
//! A wire struct takes the fields that it knows out of a JSON object and keeps the others in `extra`, a known field
//! of an unexpected shape included. So reading never fails, and writing loses nothing.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// Takes a field out of an object, or leaves it there if it has not the expected shape.
pub(crate) fn take<T: DeserializeOwned>(map: &mut Map<String, Value>, key: &str) -> Option<T> {
    // A `null` stays where it is: taken out, it would be missing when the frame is written again.
    let value = map.get(key).filter(|value| !value.is_null())?;
    // Another shape than expected is no error: a newer CLI may have changed this field, and the frame is
    // worth more than it. The value stays in `extra`.
    let taken = T::deserialize(value).ok()?;
    map.remove(key);
    Some(taken)
}

/// Puts a field that is set into an object.
pub(crate) fn put<T: Serialize>(map: &mut Map<String, Value>, key: &str, value: Option<&T>) {
    if let Some(Ok(value)) = value.map(serde_json::to_value) {
        map.insert(key.to_owned(), value);
    }
}

/// A struct that is read from an object and written to one.
pub(crate) trait Wire: Sized {
    fn from_map(map: Map<String, Value>) -> Self;
    fn to_map(&self) -> Map<String, Value>;
}

/// Reads any wire struct; an error only if the value is not an object.
pub(crate) fn read<'de, T: Wire, D: serde::Deserializer<'de>>(deserializer: D) -> Result<T, D::Error> {
    Map::deserialize(deserializer).map(T::from_map)
}

/// Declares a struct of optional fields with an `extra` map; a field's key is its name unless one is given.
macro_rules! wire {
    ($(#[$doc:meta])* pub struct $name:ident {
        $($(#[$field_doc:meta])* $field:ident: $type:ty $(= $key:literal)?,)*
    }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Default, PartialEq)]
        #[non_exhaustive]
        pub struct $name {
            $($(#[$field_doc])* pub $field: Option<$type>,)*
            /// The fields that have no place here, or not the expected shape, as they came.
            pub extra: serde_json::Map<String, serde_json::Value>,
        }

        impl $crate::wire::Wire for $name {
            fn from_map(mut map: serde_json::Map<String, serde_json::Value>) -> Self {
                Self {
                    $($field: $crate::wire::take(&mut map, $crate::wire::wire!(@key $field $($key)?)),)*
                    // Last: by now the known fields are taken out of the map.
                    extra: map,
                }
            }

            fn to_map(&self) -> serde_json::Map<String, serde_json::Value> {
                // `extra` first, so that a field that was set since counts, and not one of another shape that
                // was kept under its name.
                #[allow(unused_mut, clippy::allow_attributes, reason = "a struct may have no fields of its own")]
                let mut map = self.extra.clone();
                $($crate::wire::put(
                    &mut map,
                    $crate::wire::wire!(@key $field $($key)?),
                    self.$field.as_ref(),
                );)*
                map
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serde::Serialize::serialize(&$crate::wire::Wire::to_map(self), serializer)
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                $crate::wire::read(deserializer)
            }
        }
    };
    (@key $field:ident) => { stringify!($field) };
    (@key $field:ident $key:literal) => { $key };
}

/// Declares an enum of names with an `Other` for those that are unknown.
macro_rules! words {
    ($(#[$doc:meta])* pub enum $name:ident { $($(#[$word_doc:meta])* $variant:ident = $text:literal,)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum $name {
            $($(#[$word_doc])* $variant,)*
            /// A word that this version does not know.
            Other(String),
        }

        impl $name {
            /// The word on the wire.
            pub fn as_str(&self) -> &str {
                match self {
                    $(Self::$variant => $text,)*
                    Self::Other(text) => text,
                }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.pad(self.as_str())
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.as_str())
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = <String as serde::Deserialize>::deserialize(deserializer)?;
                Ok(match text.as_str() {
                    $($text => Self::$variant,)*
                    _ => Self::Other(text),
                })
            }
        }
    };
}

pub(crate) use {wire, words};
