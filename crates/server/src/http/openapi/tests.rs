use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use axum::body::Body;
use http::{Request, StatusCode, header};
use serde_json::Value;
use tower::ServiceExt as _;

use super::*;
use crate::config::Config;
use crate::http::gate::Gate;
use crate::http::{App, routes, surrounded};

const METHODS: [&str; 8] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"];

type Methods = BTreeSet<String>;

fn parsed() -> Value {
    serde_json::from_str(&document().unwrap()).unwrap()
}

/// Every operation: path, method, and what is said of it.
fn operations(document: &Value) -> Vec<(&String, String, &Value)> {
    let paths = document["paths"].as_object().unwrap();
    paths
        .iter()
        .flat_map(|(path, item)| {
            let methods = item.as_object().unwrap().iter();
            methods.map(move |(method, operation)| (path, method.to_uppercase(), operation))
        })
        .collect()
}

/// The methods that the document says a path has, those included that come with every path.
fn documented() -> BTreeMap<String, Methods> {
    let mut all: BTreeMap<String, Methods> = BTreeMap::new();
    for (path, method, operation) in operations(&parsed()) {
        let methods = all.entry(path.clone()).or_default();
        if operation["tags"][0].as_str().unwrap().starts_with(barbican::TAG) {
            methods.insert("OPTIONS".to_owned());
        } else if method == "GET" {
            methods.insert("HEAD".to_owned());
        }
        methods.insert(method);
    }
    all
}

/// The paths that the router knows, by what it says of itself: there is no other way to ask.
fn paths(app: &Arc<App>) -> BTreeSet<String> {
    let text = format!("{:?}", routes(app));
    text.split('"').filter(|part| part.starts_with('/')).map(str::to_owned).collect()
}

async fn administrated() -> (tempfile::TempDir, Arc<App>, String) {
    let folder = tempfile::tempdir().unwrap();
    let mut config = Config::default();
    config.data.folder = folder.path().join("data");
    config.store.url = "memory:".to_owned();
    config.limits.requests_per_second = 0;
    let opened = crate::startup::open_at_once(&config).await.unwrap();
    let clouds = std::fs::read_to_string(opened.first_start.unwrap().clouds_file).unwrap();
    let entry = clouds.split("  administrator:\n").nth(1).unwrap();
    let token = entry.split("token: \"").nth(1).unwrap().split('"').next().unwrap().to_owned();
    (folder, opened.app, token)
}

/// Whether a path takes a method, and what it says it takes if not.
async fn ask(gate: &Gate, token: &str, method: &str, path: &str) -> (StatusCode, Methods) {
    let id = "6f1c7a0e-3b52-4a53-9a54-0f6c1f5be1a7";
    let target: Vec<&str> =
        path.split('/').map(|part| if part.starts_with('{') { id } else { part }).collect();
    let request = Request::builder().method(method).uri(target.join("/")).header("x-auth-token", token);
    let answer = gate.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
    let allow = answer.headers().get(header::ALLOW).map(|value| value.to_str().unwrap()).unwrap_or_default();
    let allowed = allow.split(',').map(str::trim).filter(|word| !word.is_empty()).map(str::to_owned);
    (answer.status(), allowed.collect())
}

/// What the router serves is documented, and what is documented it serves: path by path, method by method.
#[tokio::test]
async fn the_document_and_the_router_agree() {
    let (_folder, app, token) = administrated().await;
    let gate = Gate::new(surrounded(Arc::clone(&app)));
    let (catching, served): (BTreeSet<_>, BTreeSet<_>) =
        paths(&app).into_iter().partition(|path| path.contains("{*"));
    let documented = documented();
    assert_eq!(served, documented.keys().cloned().collect::<BTreeSet<_>>());
    for (path, expected) in &documented {
        let mut taken = Methods::new();
        for method in METHODS {
            let (status, allowed) = ask(&gate, &token, method, path).await;
            if status == StatusCode::METHOD_NOT_ALLOWED {
                let told = expected.iter().filter(|method| *method != "OPTIONS").cloned().collect();
                assert_eq!(allowed, told, "Allow of {method} {path}");
            } else {
                taken.insert(method.to_owned());
            }
        }
        assert_eq!(&taken, expected, "{path}");
    }
    // What takes everything else has nothing to document.
    for path in catching {
        for method in ["GET", "POST", "PUT", "PATCH", "DELETE"] {
            let (status, _) = ask(&gate, &token, method, &path.replace('*', "")).await;
            assert_eq!(status, StatusCode::NOT_FOUND, "{method} {path}");
        }
    }
}

/// A generated client that is not told of the token gets 401 for everything.
#[tokio::test]
async fn whatever_needs_a_token_says_so() {
    let (_folder, app, _) = administrated().await;
    let gate = Gate::new(surrounded(app));
    for (path, method, operation) in operations(&parsed()) {
        let (status, _) = ask(&gate, "none", &method, path).await;
        let needed = operation["security"][0]["token"].is_array();
        assert_eq!(status == StatusCode::UNAUTHORIZED, needed, "{method} {path}");
        assert_eq!(operation["responses"]["401"].is_object(), needed, "{method} {path}");
    }
}

/// Refusals of each route have the shape of its protocol.
#[test]
fn each_path_belongs_to_the_protocol_of_its_tag() {
    for (path, method, operation) in operations(&parsed()) {
        let theirs = operation["tags"][0].as_str().unwrap().starts_with(barbican::TAG);
        assert_eq!(crate::http::barbican::path::is_barbican(path), theirs, "{method} {path}");
    }
}

/// No reference leads nowhere, no two operations have one name, and every answer is described.
#[test]
fn the_document_is_whole() {
    fn references<'a>(value: &'a Value, found: &mut BTreeSet<&'a str>) {
        match value {
            Value::Object(object) => {
                found.extend(object.get("$ref").and_then(Value::as_str));
                object.values().for_each(|value| references(value, found));
            }
            Value::Array(list) => list.iter().for_each(|value| references(value, found)),
            _ => {}
        }
    }
    let document = parsed();
    let mut found = BTreeSet::new();
    references(&document, &mut found);
    assert!(found.len() > 40, "{found:?}");
    for reference in &found {
        assert!(document.pointer(reference.strip_prefix('#').unwrap()).is_some(), "{reference}");
    }
    for (kind, all) in document["components"].as_object().unwrap() {
        for name in all.as_object().unwrap().keys().filter(|_| kind != "securitySchemes") {
            let used = found.contains(format!("#/components/{kind}/{name}").as_str());
            assert!(used, "nothing refers to {kind} {name}");
        }
    }
    let tags: BTreeSet<_> =
        document["tags"].as_array().unwrap().iter().filter_map(|tag| tag["name"].as_str()).collect();
    let mut names = BTreeSet::new();
    for (path, method, operation) in operations(&document) {
        assert!(names.insert(operation["operationId"].as_str().unwrap()), "{method} {path}");
        assert!(tags.contains(operation["tags"][0].as_str().unwrap()), "{method} {path}");
        assert!(operation["summary"].is_string(), "{method} {path}");
        for (status, response) in operation["responses"].as_object().unwrap() {
            let told = response["$ref"].is_string() || response["description"] != Value::Null;
            assert!(told, "{method} {path} {status}");
        }
        let (fields, parts) = (operation["parameters"].as_array(), path.matches('{').count());
        let of_path = fields.map_or(0, |all| all.iter().filter(|of| of["in"] == "path").count());
        assert_eq!(of_path, parts, "{method} {path}");
    }
}
