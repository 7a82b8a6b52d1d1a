//! Consumers: services that say they need a secret or a container.

use chatelaine_core::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::super::body::{MAX_TEXT, Object};
use super::super::error::BarbicanError;
use super::super::time;
use super::secret::ACTIVE;

pub(crate) const SCHEMA: &str = "Consumer";
/// The longest name of a container's consumer, in characters.
const MAX_NAME: usize = 36;

/// A consumer of a secret, as requests name it and secrets show it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = BarbicanSecretConsumer)]
pub(crate) struct SecretConsumer {
    #[schema(min_length = 1, max_length = 255, example = "volume")]
    pub(crate) service: String,
    #[schema(min_length = 1, max_length = 255, example = "volume")]
    pub(crate) resource_type: String,
    #[schema(min_length = 1, max_length = 255)]
    pub(crate) resource_id: String,
}

/// A consumer of a container, as requests name it and containers show it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[schema(as = BarbicanContainerConsumer)]
pub(crate) struct ContainerConsumer {
    #[schema(min_length = 1, max_length = 36)]
    pub(crate) name: String,
    #[serde(rename = "URL")]
    #[schema(min_length = 1, max_length = 255)]
    pub(crate) url: String,
}

impl SecretConsumer {
    /// Checks the body of `POST` and `DELETE /v1/secrets/{id}/consumers`.
    ///
    /// # Errors
    /// 400 naming what is wrong. Unknown keys are left alone.
    pub(crate) fn read(mut object: Object) -> Result<Self, BarbicanError> {
        let mut text = |name| Ok::<_, BarbicanError>(object.required(name, MAX_TEXT)?.as_str().to_owned());
        Ok(Self {
            service: text("service")?,
            resource_type: text("resource_type")?,
            resource_id: text("resource_id")?,
        })
    }
}

impl ContainerConsumer {
    /// Checks the body of `POST` and `DELETE /v1/containers/{id}/consumers`.
    ///
    /// # Errors
    /// 400 naming what is wrong. Unknown keys are left alone.
    pub(crate) fn read(mut object: Object) -> Result<Self, BarbicanError> {
        let mut text =
            |name, longest| Ok::<_, BarbicanError>(object.required(name, longest)?.as_str().to_owned());
        Ok(Self { name: text("name", MAX_NAME)?, url: text("URL", MAX_TEXT)? })
    }
}

/// An entry of a list of consumers.
#[derive(Debug, Serialize)]
pub(crate) struct ConsumerEntry<C> {
    created: String,
    updated: String,
    status: &'static str,
    #[serde(flatten)]
    consumer: C,
}

impl<C> ConsumerEntry<C> {
    pub(crate) fn new(created: Timestamp, updated: Timestamp, consumer: C) -> Self {
        Self { created: time::written(created), updated: time::written(updated), status: ACTIVE, consumer }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn object(body: &serde_json::Value) -> Object {
        Object::parse(SCHEMA, body.to_string().as_bytes()).unwrap()
    }

    #[test]
    fn all_parts_are_required() {
        let full = json!({"service": "glance", "resource_type": "image", "resource_id": "1", "more": 1});
        let consumer = SecretConsumer::read(object(&full)).unwrap();
        assert_eq!((consumer.service.as_str(), consumer.resource_id.as_str()), ("glance", "1"));
        for name in ["service", "resource_type", "resource_id"] {
            for wrong in [json!(""), json!(" "), json!(1), json!(null), json!("x".repeat(256))] {
                let mut body = full.clone();
                body[name] = wrong;
                assert_eq!(SecretConsumer::read(object(&body)).unwrap_err().property(), Some(name), "{body}");
            }
            let mut body = full.clone();
            body.as_object_mut().unwrap().remove(name);
            assert_eq!(SecretConsumer::read(object(&body)).unwrap_err().property(), None);
        }
        for body in [
            json!({}),
            json!({"name": "n"}),
            json!({"URL": "u"}),
            json!({"name": "n", "url": "u"}),
            json!({"name": "x".repeat(37), "URL": "u"}),
            json!({"name": "n", "URL": "x".repeat(256)}),
            json!({"name": "n", "URL": ""}),
        ] {
            assert_eq!(ContainerConsumer::read(object(&body)).unwrap_err().status(), 400, "{body}");
        }
    }

    #[test]
    fn entries_show_consumer_and_times() {
        let consumer = ContainerConsumer::read(object(&json!({"name": "n", "URL": "u"}))).unwrap();
        assert_eq!(serde_json::to_value(&consumer).unwrap(), json!({"name": "n", "URL": "u"}));
        let moment = time::parsed("2027-01-01").unwrap();
        assert_eq!(
            serde_json::to_value(ConsumerEntry::new(moment, moment, consumer)).unwrap(),
            json!({"created": "2027-01-01T00:00:00", "updated": "2027-01-01T00:00:00", "status": "ACTIVE",
                "name": "n", "URL": "u"})
        );
    }
}
