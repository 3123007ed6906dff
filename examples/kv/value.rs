//! What keys hold.

use crate::resp::Reply;
use std::collections::{HashMap, HashSet, VecDeque};

pub(crate) type Bytes = Box<[u8]>;
pub(crate) type Text = Vec<u8>;
pub(crate) type List = VecDeque<Bytes>;
pub(crate) type Hash = HashMap<Bytes, Bytes>;
pub(crate) type Set = HashSet<Bytes>;

/// The value of a key.
#[derive(Debug)]
pub(crate) enum Value {
    Text(Text),
    List(List),
    Hash(Hash),
    Set(Set),
}

impl Value {
    /// The name of its type, as TYPE tells it.
    pub(crate) fn type_name(&self) -> &'static str {
        match self {
            Value::Text(_) => "string",
            Value::List(_) => "list",
            Value::Hash(_) => "hash",
            Value::Set(_) => "set",
        }
    }

    /// Whether it is a collection without elements, which does not exist in Redis.
    pub(crate) fn is_empty_collection(&self) -> bool {
        match self {
            Value::Text(_) => false,
            Value::List(list) => list.is_empty(),
            Value::Hash(hash) => hash.is_empty(),
            Value::Set(set) => set.is_empty(),
        }
    }
}

/// One of the types that a value may have.
pub(crate) trait Kind: Default + Into<Value> {
    fn of(value: &Value) -> Option<&Self>;
    fn of_mut(value: &mut Value) -> Option<&mut Self>;
}

macro_rules! kind {
    ($($name:ident)*) => {$(
        impl Kind for $name {
            fn of(value: &Value) -> Option<&Self> {
                match value {
                    Value::$name(of) => Some(of),
                    _ => None,
                }
            }

            fn of_mut(value: &mut Value) -> Option<&mut Self> {
                match value {
                    Value::$name(of) => Some(of),
                    _ => None,
                }
            }
        }

        impl From<$name> for Value {
            fn from(of: $name) -> Self {
                Value::$name(of)
            }
        }
    )*};
}

kind! { Text List Hash Set }

/// The bytes of several elements.
pub(crate) fn bulks<'a>(elements: impl IntoIterator<Item = &'a Bytes>) -> Reply<'a> {
    Reply::array(elements.into_iter().map(Reply::bulk))
}
