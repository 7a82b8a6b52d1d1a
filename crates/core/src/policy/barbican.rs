//! The default rules of Barbican's interface: two sets, of which an operator picks one.
//!
//! The names are Barbican's, those of the helper rules too, so that a `policy.yaml` written for it works unchanged. The
//! `secure` set knows the roles admin, member and reader; the `legacy` set those of older clouds (creator, observer,
//! audit, key-manager:service-admin). Rules on access lists see whether a secret is private in both sets: nobody
//! gives himself access to another user's private secret (T-ACL-TAKEOVER).

use super::enforce::{DefaultRule, rule};

/// Rules that other rules are built from.
pub(super) const HELPERS: &[DefaultRule] = &[
    rule("admin", "role:admin", "The role admin"),
    rule("creator", "role:creator", "The role creator"),
    rule("observer", "role:observer", "The role observer"),
    rule("audit", "role:audit", "The role audit"),
    rule("service_admin", "role:key-manager:service-admin", "The role of the key manager's administrators"),
    rule("admin_or_creator", "rule:admin or rule:creator", "Who may write, in the legacy set"),
    rule(
        "all_but_audit",
        "rule:admin_or_creator or rule:observer",
        "Who may read payloads, in the legacy set",
    ),
    rule("all_users", "rule:all_but_audit or rule:audit or rule:service_admin", "Any role of the legacy set"),
    rule(
        "secret_project_match",
        "project_id:%(target.secret.project_id)s",
        "The token is for the secret's project",
    ),
    rule("secret_project_reader", "role:reader and rule:secret_project_match", "A reader of its project"),
    rule("secret_project_member", "role:member and rule:secret_project_match", "A member of its project"),
    rule(
        "secret_project_admin",
        "rule:admin and rule:secret_project_match",
        "An administrator of its project",
    ),
    rule("secret_owner", "user_id:%(target.secret.creator_id)s", "The user that made the secret"),
    rule("secret_creator_user", "rule:secret_owner", "The user that made the secret"),
    rule(
        "secret_is_not_private",
        "True:%(target.secret.read_project_access)s",
        "The secret's access list leaves it to the project",
    ),
    rule(
        "secret_private_read",
        "'False':%(target.secret.read_project_access)s",
        "The secret's access list takes it from the project",
    ),
    rule("secret_acl_read", "'read':%(target.secret.read)s", "The secret's access list names the caller"),
    rule(
        "secret_non_private_read",
        "rule:all_users and rule:secret_project_match and not rule:secret_private_read",
        "A reader of metadata, in the legacy set",
    ),
    rule(
        "secret_decrypt_non_private_read",
        "rule:all_but_audit and rule:secret_project_match and not rule:secret_private_read",
        "A reader of payloads, in the legacy set",
    ),
    rule(
        "secret_project_creator_role",
        "rule:creator and rule:secret_project_match",
        "A creator of its project",
    ),
    rule(
        "secret_project_creator",
        "rule:secret_project_creator_role and rule:secret_owner",
        "Its own creator",
    ),
    rule(
        "container_project_match",
        "project_id:%(target.container.project_id)s",
        "The token is for the container's project",
    ),
    rule(
        "container_project_member",
        "role:member and rule:container_project_match",
        "A member of its project",
    ),
    rule(
        "container_project_admin",
        "rule:admin and rule:container_project_match",
        "An administrator of its project",
    ),
    rule("container_owner", "user_id:%(target.container.creator_id)s", "The user that made the container"),
    rule("container_creator_user", "rule:container_owner", "The user that made the container"),
    rule(
        "container_is_not_private",
        "True:%(target.container.read_project_access)s",
        "The container's access list leaves it to the project",
    ),
    rule(
        "container_private_read",
        "'False':%(target.container.read_project_access)s",
        "The container's access list takes it from the project",
    ),
    rule(
        "container_acl_read",
        "'read':%(target.container.read)s",
        "The container's access list names the caller",
    ),
    rule(
        "container_non_private_read",
        "rule:all_users and rule:container_project_match and not rule:container_private_read",
        "A reader of a container, in the legacy set",
    ),
    rule(
        "container_project_creator_role",
        "rule:creator and rule:container_project_match",
        "A creator of its project",
    ),
    rule(
        "container_project_creator",
        "rule:container_project_creator_role and rule:container_owner",
        "Its own creator",
    ),
    rule(
        "order_project_match",
        "project_id:%(target.order.project_id)s",
        "The token is for the order's project",
    ),
    rule("order_project_member", "role:member and rule:order_project_match", "A member of its project"),
];

const MEMBER: &str = "role:member";
const READER: &str = "role:reader";
const ADMIN: &str = "rule:admin";
const SECRET_WRITE: &str = "rule:secret_project_admin or \
     (rule:secret_project_member and (rule:secret_owner or rule:secret_is_not_private))";
const SECRET_READ: &str = "rule:secret_project_admin or rule:secret_acl_read or \
     (rule:secret_project_member and (rule:secret_owner or rule:secret_is_not_private))";
const CONTAINER_WRITE: &str = "rule:container_project_admin or \
     (rule:container_project_member and (rule:container_owner or rule:container_is_not_private))";
const CONTAINER_READ: &str = "rule:container_project_admin or rule:container_acl_read or \
     (rule:container_project_member and (rule:container_owner or rule:container_is_not_private))";
const LEGACY_SECRET_READ: &str = "rule:secret_non_private_read or rule:secret_project_creator or \
     rule:secret_project_admin or rule:secret_acl_read";
const LEGACY_SECRET_DECRYPT: &str = "rule:secret_decrypt_non_private_read or rule:secret_project_creator or \
     rule:secret_project_admin or rule:secret_acl_read";
const LEGACY_SECRET_WRITE: &str = "rule:secret_project_admin or rule:secret_project_creator or \
     (rule:secret_project_creator_role and not rule:secret_private_read)";
const LEGACY_CONTAINER_READ: &str = "rule:container_non_private_read or rule:container_project_creator or \
     rule:container_project_admin or rule:container_acl_read";
const LEGACY_CONTAINER_WRITE: &str = "rule:container_project_admin or rule:container_project_creator or \
     (rule:container_project_creator_role and not rule:container_private_read)";

/// A rule in both sets: name, text of the secure set, text of the legacy set, what it decides.
struct Both(&'static str, &'static str, &'static str, &'static str);

const RULES: &[Both] = &[
    Both("secrets:post", MEMBER, "rule:admin_or_creator", "Store a secret"),
    Both("secrets:get", MEMBER, "rule:all_but_audit", "List the project's secrets"),
    Both("secret:get", CROSS_PROJECT_READ, LEGACY_SECRET_READ, "Read a secret's metadata"),
    Both("secret:decrypt", SECRET_READ, LEGACY_SECRET_DECRYPT, "Read a secret's payload"),
    Both(
        "secret:put",
        SECRET_WRITE,
        "rule:admin_or_creator and rule:secret_project_match",
        "Add the payload of a secret stored without one",
    ),
    Both("secret:delete", CROSS_PROJECT_DELETE, LEGACY_SECRET_WRITE, "Delete a secret"),
    Both("secret_meta:get", SECRET_READ, LEGACY_SECRET_READ, "Read a secret's user metadata"),
    Both("secret_meta:post", SECRET_WRITE, LEGACY_SECRET_WRITE, "Add to a secret's user metadata"),
    Both("secret_meta:put", SECRET_WRITE, LEGACY_SECRET_WRITE, "Replace a secret's user metadata"),
    Both("secret_meta:delete", SECRET_WRITE, LEGACY_SECRET_WRITE, "Remove from a secret's user metadata"),
    Both(
        "secret_acls:get",
        SECRET_WRITE,
        "rule:all_but_audit and rule:secret_project_match",
        "Read a secret's access list",
    ),
    Both("secret_acls:put_patch", SECRET_WRITE, LEGACY_SECRET_WRITE, "Change a secret's access list"),
    Both("secret_acls:delete", SECRET_WRITE, LEGACY_SECRET_WRITE, "Remove a secret's access list"),
    Both("secret_consumers:get", SECRET_READ, LEGACY_SECRET_READ, "List who uses a secret"),
    Both("secret_consumers:post", SECRET_READ, LEGACY_SECRET_READ, "Register a user of a secret"),
    Both("secret_consumers:delete", SECRET_READ, LEGACY_SECRET_READ, "Remove a user of a secret"),
    Both("containers:post", MEMBER, "rule:admin_or_creator", "Create a container"),
    Both("containers:get", MEMBER, "rule:all_but_audit", "List the project's containers"),
    Both("container:get", CONTAINER_READ, LEGACY_CONTAINER_READ, "Read a container"),
    Both(
        "container:delete",
        CONTAINER_WRITE,
        "rule:container_project_admin or rule:container_project_creator",
        "Delete a container",
    ),
    Both("container_secret:post", CONTAINER_WRITE, LEGACY_CONTAINER_WRITE, "Add a secret to a container"),
    Both(
        "container_secret:delete",
        CONTAINER_WRITE,
        LEGACY_CONTAINER_WRITE,
        "Take a secret out of a container",
    ),
    Both(
        "container_acls:get",
        CONTAINER_WRITE,
        "rule:all_but_audit and rule:container_project_match",
        "Read a container's access list",
    ),
    Both(
        "container_acls:put_patch",
        CONTAINER_WRITE,
        LEGACY_CONTAINER_WRITE,
        "Change a container's access list",
    ),
    Both(
        "container_acls:delete",
        CONTAINER_WRITE,
        LEGACY_CONTAINER_WRITE,
        "Remove a container's access list",
    ),
    Both("container_consumers:get", CONTAINER_READ, LEGACY_CONTAINER_READ, "List who uses a container"),
    Both("container_consumers:post", CONTAINER_READ, LEGACY_CONTAINER_READ, "Register a user of a container"),
    Both("container_consumers:delete", CONTAINER_READ, LEGACY_CONTAINER_READ, "Remove a user of a container"),
    Both(
        "consumer:get",
        CONSUMER_READ,
        "rule:all_but_audit or rule:audit or rule:container_acl_read",
        "Read one entry of who uses something",
    ),
    Both("orders:post", MEMBER, "rule:admin_or_creator", "Order a key or a key pair"),
    Both("orders:get", MEMBER, "rule:all_but_audit", "List the project's orders"),
    Both("orders:put", MEMBER, "rule:admin_or_creator", "Change an order (not offered)"),
    Both(
        "order:get",
        "rule:order_project_member",
        "rule:all_users and rule:order_project_match",
        "Read an order",
    ),
    Both(
        "order:delete",
        "rule:order_project_member",
        "rule:admin and rule:order_project_match",
        "Delete an order",
    ),
    Both("quotas:get", READER, "rule:all_users", "Read the quotas in force for the own project"),
    Both("project_quotas:get", ADMIN, "rule:service_admin", "Read the quotas of any project"),
    Both("project_quotas:put", ADMIN, "rule:service_admin", "Set the quotas of any project"),
    Both("project_quotas:delete", ADMIN, "rule:service_admin", "Remove the quotas of any project"),
    Both("secretstores:get", READER, "rule:all_users", "List secret stores"),
    Both(
        "secretstores:get_global_default",
        READER,
        "rule:all_users",
        "Read which secret store is the default",
    ),
    Both(
        "secretstores:get_preferred",
        READER,
        "rule:all_users",
        "Read which secret store the project prefers",
    ),
    Both("secretstore:get", READER, "rule:all_users", "Read a secret store"),
    Both("secretstore_preferred:post", ADMIN, ADMIN, "Prefer a secret store"),
    Both("secretstore_preferred:delete", ADMIN, ADMIN, "No longer prefer a secret store"),
    Both("transport_keys:get", READER, "rule:all_users", "List transport keys"),
    Both("transport_keys:post", ADMIN, "rule:service_admin", "Add a transport key (not offered)"),
    Both("transport_key:get", READER, "rule:all_users", "Read a transport key"),
    Both("transport_key:delete", ADMIN, "rule:service_admin", "Delete a transport key"),
];

/// An administrator of any project may look at a secret's metadata, and delete it.
const CROSS_PROJECT_READ: &str = "rule:admin or rule:secret_acl_read or \
     (rule:secret_project_member and (rule:secret_owner or rule:secret_is_not_private))";
const CROSS_PROJECT_DELETE: &str =
    "rule:admin or (rule:secret_project_member and (rule:secret_owner or rule:secret_is_not_private))";
const CONSUMER_READ: &str = "rule:admin or rule:container_acl_read or \
     (rule:container_project_member and (rule:container_owner or rule:container_is_not_private))";

/// The rules of one set, after the helpers.
pub(super) fn rules(legacy: bool) -> impl Iterator<Item = DefaultRule> {
    RULES.iter().map(move |Both(name, secure, old, description)| {
        rule(name, if legacy { old } else { secure }, description)
    })
}
