//! The reference of all settings, made from the types: TOML with each setting's meaning and default.

use schemars::SchemaGenerator;
use serde_json::Value;

use super::{Config, ConfigError};

/// A configuration file that names every setting with its default, each explained; all commented out.
///
/// # Errors
/// [`ConfigError`] when the defaults cannot be written as TOML: a defect.
pub fn reference() -> Result<String, ConfigError> {
    let schema = SchemaGenerator::default().into_root_schema_for::<Config>();
    let schema = Value::from(schema);
    let defaults = serde_json::to_value(Config::default())
        .map_err(|error| ConfigError::setting("configuration", error.to_string()))?;
    let mut text = String::from(
        "# Every setting of Chatelaine with its default. Each can also be given as an environment variable, for example\n\
         # CHATELAINE_SERVER__LISTEN, or on the command line: --set server.listen=127.0.0.1:9311. The command line wins\n\
         # over the environment, and the environment over the file.\n",
    );
    section(&mut text, &schema, &schema, &defaults, "");
    Ok(text)
}

fn resolve<'a>(root: &'a Value, schema: &'a Value) -> &'a Value {
    let named = schema.get("$ref").or_else(|| schema.get("allOf").and_then(|all| all.get(0)?.get("$ref")));
    match named.and_then(Value::as_str).and_then(|name| name.strip_prefix('#')) {
        Some(pointer) => root.pointer(pointer).unwrap_or(schema),
        None => schema,
    }
}

fn description<'a>(schema: &'a Value, resolved: &'a Value) -> &'a str {
    schema
        .get("description")
        .or_else(|| resolved.get("description"))
        .and_then(Value::as_str)
        .unwrap_or_default()
}

fn section(text: &mut String, root: &Value, schema: &Value, defaults: &Value, path: &str) {
    let Some(properties) = schema.get("properties").and_then(Value::as_object) else { return };
    let is_section = |value: &Value| resolve(root, value).get("properties").is_some();
    for (name, property) in properties.iter().filter(|(_, property)| !is_section(property)) {
        let resolved = resolve(root, property);
        text.push('\n');
        for line in description(property, resolved).lines() {
            text.push_str("# ");
            text.push_str(line);
            text.push('\n');
        }
        let allowed = choices(resolved);
        if !allowed.is_empty() {
            text.push_str(&format!("# One of: {}.\n", allowed.join(", ")));
        }
        let value = defaults.get(name).map_or_else(|| "\"\"".to_owned(), toml_value);
        text.push_str(&format!("#{name} = {value}\n"));
    }
    for (name, property) in properties.iter().filter(|(_, property)| is_section(property)) {
        let resolved = resolve(root, property);
        let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
        text.push_str(&format!("\n[{path}]\n"));
        let words = property.get("description").and_then(Value::as_str).unwrap_or_default();
        for line in words.lines() {
            text.push_str(&format!("# {line}\n"));
        }
        section(text, root, resolved, defaults.get(name).unwrap_or(&Value::Null), &path);
    }
}

/// The words of an enumeration.
fn choices(schema: &Value) -> Vec<String> {
    let quoted = |value: &Value| value.as_str().map(|word| format!("\"{word}\""));
    if let Some(words) = schema.get("enum").and_then(Value::as_array) {
        return words.iter().filter_map(quoted).collect();
    }
    let variants = schema.get("oneOf").and_then(Value::as_array);
    variants.into_iter().flatten().filter_map(|variant| variant.get("const").and_then(quoted)).collect()
}

fn toml_value(value: &Value) -> String {
    match value {
        Value::Null => "\"\"".to_owned(),
        Value::Array(items) => format!("[{}]", items.iter().map(toml_value).collect::<Vec<_>>().join(", ")),
        Value::String(text) => toml::Value::String(text.clone()).to_string(),
        other => other.to_string(),
    }
}
