//! JSON objects as credentials and targets, for the command line and for tests.

use std::borrow::Cow;

use serde_json::{Map, Value as Json};

use super::value::{Attributes, Items, Value, quote, represent};

/// Deepest object that is turned into text; the JSON parser stops at the same depth.
const MAX_DEPTH: usize = 128;

fn value(json: &Json) -> Value<'_> {
    match json {
        Json::Null => Value::None,
        Json::Bool(value) => Value::Boolean(*value),
        Json::Number(number) => {
            let whole = number.as_i64().map(i128::from).or_else(|| number.as_u64().map(i128::from));
            match (whole, number.as_f64()) {
                (Some(whole), _) => Value::Integer(whole),
                (None, Some(float)) => Value::Float(float),
                (None, None) => Value::Text(Cow::Owned(number.to_string())),
            }
        }
        Json::String(text) => Value::Text(Cow::Borrowed(text)),
        Json::Array(items) => Value::List(items),
        Json::Object(map) => Value::Map(map),
    }
}

impl Attributes for Map<String, Json> {
    fn value(&self, name: &str) -> Option<Value<'_>> {
        self.get(name).map(value)
    }

    fn text(&self) -> Option<String> {
        let mut out = String::from("{");
        for (name, json) in self {
            if out.len() > 1 {
                out.push_str(", ");
            }
            quote(name, &mut out);
            out.push_str(": ");
            represent(&value(json), MAX_DEPTH, &mut out)?;
        }
        out.push('}');
        Some(out)
    }
}

impl Items for Vec<Json> {
    fn item(&self, index: usize) -> Option<Value<'_>> {
        self.get(index).map(value)
    }
}

/// A target written as nested objects, with the names that rules use for it: `{"secret": {"id": 1}}` becomes
/// `{"secret.id": 1}`. Objects without members vanish.
pub fn flatten(nested: &Map<String, Json>) -> Map<String, Json> {
    let mut flat = Map::new();
    collect(nested, "", &mut flat);
    flat
}

fn collect(nested: &Map<String, Json>, prefix: &str, flat: &mut Map<String, Json>) {
    for (name, json) in nested {
        let name = if prefix.is_empty() { name.clone() } else { format!("{prefix}.{name}") };
        match json {
            Json::Object(inner) => collect(inner, &name, flat),
            other => {
                flat.insert(name, other.clone());
            }
        }
    }
}
