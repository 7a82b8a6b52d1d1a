//! Containers, consumers of secrets and containers, and orders.

use utoipa::openapi::path::HttpMethod::{Delete, Get, Post};

use super::super::operation::{Operation, text};
use super::answers::{ContainerConsumerEntry, SecretConsumerEntry};
use super::requests::{NewContainer, NewMember, NewOrder};
use super::{ERROR, operation};
use crate::http::barbican::wire::consumer::{ContainerConsumer, SecretConsumer};
use crate::http::barbican::wire::container::ContainerDocument;
use crate::http::barbican::wire::order::OrderDocument;
use crate::http::barbican::wire::secret::SecretDocument;

pub(super) fn consumers() -> Vec<Operation> {
    const OF_SECRET: &str = "/v1/secrets/{id}/consumers";
    const OF_CONTAINER: &str = "/v1/containers/{id}/consumers";
    const NO_ID: &str = "No answer says the id of a consumer, so that none is found.";
    vec![
        operation(Get, OF_SECRET, "list_secret_consumers", "Lists who uses a secret.")
            .gives_page::<SecretConsumerEntry>("BarbicanSecretConsumerList", "consumers"),
        operation(Post, OF_SECRET, "add_secret_consumer", "Says that a service uses a secret.")
            .takes::<SecretConsumer>()
            .gives::<SecretDocument<'_>>(200, "The secret, with its consumers"),
        operation(Delete, OF_SECRET, "remove_secret_consumer", "Says that it does not any more.")
            .takes::<SecretConsumer>()
            .gives::<SecretDocument<'_>>(200, "The secret, with its consumers"),
        operation(Get, "/v1/secrets/{id}/consumers/{consumer}", "get_secret_consumer", "Shows a consumer.")
            .explained(NO_ID),
        operation(Get, OF_CONTAINER, "list_container_consumers", "Lists who uses a container, by name.")
            .gives_page::<ContainerConsumerEntry>("BarbicanContainerConsumerList", "consumers"),
        operation(Post, OF_CONTAINER, "add_container_consumer", "Says that a service uses a container.")
            .takes::<ContainerConsumer>()
            .gives::<ContainerDocument<'_>>(200, "The container"),
        operation(Delete, OF_CONTAINER, "remove_container_consumer", "Says that it does not any more.")
            .takes::<ContainerConsumer>()
            .gives::<ContainerDocument<'_>>(200, "The container"),
        operation(
            Get,
            "/v1/containers/{id}/consumers/{consumer}",
            "get_container_consumer",
            "Shows a consumer.",
        )
        .explained(NO_ID),
    ]
}

pub(super) fn containers() -> Vec<Operation> {
    const MEMBERS: &str = "/v1/containers/{id}/secrets";
    const REFERENCE: &str = "BarbicanContainerReference";
    vec![
        operation(Get, "/v1/containers", "list_containers", "Lists the containers of the token's project.")
            .gives_page::<ContainerDocument<'_>>("BarbicanContainerList", "containers")
            .query("name", text(), "`%` is any text, `_` any letter; case makes no difference")
            .query("type", text(), "The type"),
        operation(Post, "/v1/containers", "create_container", "Makes a container.")
            .takes::<NewContainer>()
            .gives_reference(201, REFERENCE, "container_ref", "Made")
            .located(201)
            .refuses(404, ERROR, "There is no such secret for the token's project"),
        operation(Get, "/v1/containers/{id}", "get_container", "Shows a container.")
            .gives::<ContainerDocument<'_>>(200, "The container"),
        operation(Delete, "/v1/containers/{id}", "delete_container", "Deletes a container.")
            .explained("The secrets in it stay.")
            .gives_nothing(204, "Deleted"),
        operation(
            Post,
            MEMBERS,
            "add_container_secret",
            "Adds a secret to a container of the type `generic`.",
        )
        .takes::<NewMember>()
        .gives_reference(201, REFERENCE, "container_ref", "Added")
        .located(201)
        .refuses(409, ERROR, "It is in the container under this name"),
        operation(
            Delete,
            MEMBERS,
            "remove_container_secret",
            "Takes a secret out of a container of the type `generic`.",
        )
        .takes::<NewMember>()
        .gives_nothing(204, "Taken out"),
    ]
}

pub(super) fn orders() -> Vec<Operation> {
    vec![
        operation(Get, "/v1/orders", "list_orders", "Lists the orders of the token's project.")
            .gives_page::<OrderDocument<'_>>("BarbicanOrderList", "orders")
            .query("meta", text(), "A name or a value in `meta`"),
        operation(Post, "/v1/orders", "create_order", "Makes a key or a key pair.")
            .explained("It is made when the answer comes.")
            .takes::<NewOrder>()
            .gives_reference(
                202,
                "BarbicanOrderReference",
                "order_ref",
                "Made, or ended with an error that the order shows",
            )
            .located(202),
        operation(Get, "/v1/orders/{id}", "get_order", "Shows an order.")
            .gives::<OrderDocument<'_>>(200, "The order"),
        operation(Delete, "/v1/orders/{id}", "delete_order", "Deletes an order.")
            .explained("What it has made stays.")
            .gives_nothing(204, "Deleted"),
    ]
}
