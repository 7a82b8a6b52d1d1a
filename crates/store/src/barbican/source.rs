//! A Barbican's database, read page by page: each secret and container with everything that hangs on it.

use std::collections::HashMap;

use super::connection::{Connection, Range, Select, Texts};
use super::rows::Reader;
use super::{
    AclRow, Address, ContainerConsumerRow, ContainerRow, ContainerSecretRow, KekRow, PayloadRow, QuotaRow,
    SecretConsumerRow, SecretRow, SourceError, Totals,
};

/// Objects read at once: with the largest payloads some 20 MB.
const PAGE: usize = 200;

const TABLES: [&str; 15] = [
    "projects",
    "secrets",
    "encrypted_data",
    "kek_data",
    "secret_store_metadata",
    "secret_user_metadata",
    "secret_acls",
    "secret_acl_users",
    "secret_consumer_metadata",
    "containers",
    "container_secret",
    "container_acls",
    "container_acl_users",
    "container_consumer_metadata",
    "project_quotas",
];

/// A Barbican's database as it is at one moment.
pub struct Source {
    connection: Connection,
    /// Ids of projects, those of the identity service by those of the database.
    projects: HashMap<String, String>,
}

impl Source {
    /// Opens a database for reading.
    ///
    /// # Errors
    /// [`SourceError::Unavailable`], [`SourceError::Foreign`] when tables are missing, [`SourceError::Read`].
    pub async fn open(address: &Address) -> Result<Self, SourceError> {
        let mut connection = Connection::open(&address.place).await?;
        let found = connection.tables().await?;
        let missing: Vec<&str> = TABLES
            .into_iter()
            .chain(["orders"])
            .filter(|table| !found.iter().any(|found| found == table))
            .collect();
        if !missing.is_empty() {
            return Err(SourceError::Foreign(format!("it has no table {}", missing.join(", "))));
        }
        let mut source = Self { connection, projects: HashMap::new() };
        source.read_projects().await?;
        Ok(source)
    }

    async fn read_projects(&mut self) -> Result<(), SourceError> {
        const COLUMNS: &[&str] = &["id", "external_id"];
        let rows = self.all("projects", COLUMNS).await?;
        for row in rows {
            let mut row = Reader::new("projects", COLUMNS, row);
            let id = row.id()?;
            if let Some(external) = row.optional()? {
                self.projects.insert(id, external);
            }
        }
        Ok(())
    }

    /// How much there is.
    ///
    /// # Errors
    /// [`SourceError::Unavailable`], [`SourceError::Read`]; so all others.
    pub async fn totals(&mut self) -> Result<Totals, SourceError> {
        Ok(Totals {
            secrets: self.connection.count("secrets").await?,
            containers: self.connection.count("containers").await?,
            orders: self.connection.count("orders").await?,
            quotas: self.connection.count("project_quotas").await?,
        })
    }

    /// All key-encryption keys, by id.
    ///
    /// # Errors
    /// As for [`Self::totals`], and [`SourceError::Row`]; so all below.
    pub async fn keks(&mut self) -> Result<HashMap<String, KekRow>, SourceError> {
        const COLUMNS: &[&str] = &["id", "plugin_name", "plugin_meta"];
        let rows = self.all("kek_data", COLUMNS).await?;
        let read = |row| {
            let mut row = Reader::new("kek_data", COLUMNS, row);
            Ok((row.id()?, KekRow { plugin_name: row.text()?, plugin_meta: row.optional()? }))
        };
        rows.into_iter().map(read).collect()
    }

    /// The next secrets in the order of their ids, after one of them or from the first on; none when there are no more.
    ///
    /// # Errors
    /// As for [`Self::keks`].
    pub async fn secrets(&mut self, after: Option<&str>) -> Result<Vec<SecretRow>, SourceError> {
        const COLUMNS: &[&str] = &[
            "id",
            "project_id",
            "name",
            "secret_type",
            "expiration",
            "algorithm",
            "bit_length",
            "mode",
            "creator_id",
            "created_at",
            "updated_at",
            "deleted",
            "status",
        ];
        let mut secrets = Vec::new();
        for row in self.page("secrets", COLUMNS, after).await? {
            let mut row = Reader::new("secrets", COLUMNS, row);
            secrets.push(SecretRow {
                id: row.id()?,
                project: row.optional()?.and_then(|id| self.projects.get(&id).cloned()),
                name: row.optional()?,
                secret_type: row.optional()?,
                expiration: row.optional_time()?,
                algorithm: row.optional()?,
                bit_length: row.number()?,
                mode: row.optional()?,
                creator: row.optional()?,
                created: row.time()?,
                updated: row.time()?,
                deleted: row.flag()?,
                status: row.text()?,
                payloads: Vec::new(),
                store_metadata: std::collections::BTreeMap::new(),
                user_metadata: std::collections::BTreeMap::new(),
                acls: Vec::new(),
                consumers: Vec::new(),
            });
        }
        let Some((first, last)) = ends(&secrets, |secret| &secret.id) else { return Ok(secrets) };
        let mut payloads = self.payloads(&first, &last).await?;
        let mut store_metadata = self.pairs("secret_store_metadata", &first, &last).await?;
        let mut user_metadata = self.pairs("secret_user_metadata", &first, &last).await?;
        let mut acls = self.acls(&SECRET_ACLS, &first, &last).await?;
        let mut consumers = self.secret_consumers(&first, &last).await?;
        for secret in &mut secrets {
            secret.payloads = payloads.remove(&secret.id).unwrap_or_default();
            secret.store_metadata.extend(store_metadata.remove(&secret.id).unwrap_or_default());
            secret.user_metadata.extend(user_metadata.remove(&secret.id).unwrap_or_default());
            secret.acls = acls.remove(&secret.id).unwrap_or_default();
            secret.consumers = consumers.remove(&secret.id).unwrap_or_default();
        }
        Ok(secrets)
    }

    async fn payloads(&mut self, first: &str, last: &str) -> Result<Grouped<PayloadRow>, SourceError> {
        const TABLE: &str = "encrypted_data";
        const COLUMNS: &[&str] = &["secret_id", "kek_id", "cypher_text", "content_type"];
        let rows = self.children(TABLE, COLUMNS, first, last, &["created_at", "id"]).await?;
        grouped(TABLE, COLUMNS, rows, |row| {
            Ok(PayloadRow {
                kek_id: row.optional()?,
                cypher_text: row.optional()?,
                content_type: row.optional()?,
            })
        })
    }

    async fn pairs(
        &mut self,
        table: &'static str,
        first: &str,
        last: &str,
    ) -> Result<Grouped<(String, String)>, SourceError> {
        const COLUMNS: &[&str] = &["secret_id", "key", "value"];
        let rows = self.children(table, COLUMNS, first, last, &["id"]).await?;
        grouped(table, COLUMNS, rows, |row| Ok((row.text()?, row.text()?)))
    }

    async fn secret_consumers(
        &mut self,
        first: &str,
        last: &str,
    ) -> Result<Grouped<SecretConsumerRow>, SourceError> {
        const TABLE: &str = "secret_consumer_metadata";
        const COLUMNS: &[&str] =
            &["secret_id", "service", "resource_type", "resource_id", "created_at", "updated_at"];
        let rows = self.children(TABLE, COLUMNS, first, last, &["created_at", "id"]).await?;
        grouped(TABLE, COLUMNS, rows, |row| {
            Ok(SecretConsumerRow {
                service: row.text()?,
                resource_type: row.text()?,
                resource_id: row.text()?,
                created: row.time()?,
                updated: row.time()?,
            })
        })
    }

    async fn acls(
        &mut self,
        of: &AclTables,
        first: &str,
        last: &str,
    ) -> Result<Grouped<AclRow>, SourceError> {
        const USERS: &[&str] = &["acl_id", "user_id"];
        let users = self
            .connection
            .select(Select {
                table: of.users,
                columns: USERS,
                range: Range::OfRows { column: "acl_id", table: of.acls, parent: of.parent, first, last },
                live: true,
                order: &["id"],
                limit: None,
            })
            .await?;
        let mut users = grouped(of.users, USERS, users, Reader::text)?;
        let rows = self
            .connection
            .select(Select {
                table: of.acls,
                columns: of.columns,
                range: Range::Between(of.parent, first, last),
                live: true,
                order: &["id"],
                limit: None,
            })
            .await?;
        grouped(of.acls, of.columns, rows, |row| {
            let id = row.text()?;
            Ok(AclRow {
                operation: row.text()?,
                project_access: row.flag()?,
                created: row.time()?,
                updated: row.time()?,
                users: users.remove(&id).unwrap_or_default(),
            })
        })
    }

    /// The next containers, as [`Self::secrets`].
    ///
    /// # Errors
    /// As for [`Self::keks`].
    pub async fn containers(&mut self, after: Option<&str>) -> Result<Vec<ContainerRow>, SourceError> {
        const COLUMNS: &[&str] = &[
            "id",
            "project_id",
            "name",
            "type",
            "creator_id",
            "created_at",
            "updated_at",
            "deleted",
            "status",
        ];
        const LINKS: &[&str] = &["container_id", "name", "secret_id"];
        const CONSUMERS: &[&str] = &["container_id", "name", "URL", "created_at", "updated_at"];
        let mut containers = Vec::new();
        for row in self.page("containers", COLUMNS, after).await? {
            let mut row = Reader::new("containers", COLUMNS, row);
            containers.push(ContainerRow {
                id: row.id()?,
                project: row.optional()?.and_then(|id| self.projects.get(&id).cloned()),
                name: row.optional()?,
                container_type: row.optional()?,
                creator: row.optional()?,
                created: row.time()?,
                updated: row.time()?,
                deleted: row.flag()?,
                status: row.text()?,
                secrets: Vec::new(),
                acls: Vec::new(),
                consumers: Vec::new(),
            });
        }
        let Some((first, last)) = ends(&containers, |container| &container.id) else { return Ok(containers) };
        let order = &["created_at", "id"];
        let rows = self.children("container_secret", LINKS, &first, &last, order).await?;
        let mut secrets = grouped("container_secret", LINKS, rows, |row| {
            Ok(ContainerSecretRow { name: row.optional()?, secret_id: row.text()? })
        })?;
        let table = "container_consumer_metadata";
        let rows = self.children(table, CONSUMERS, &first, &last, order).await?;
        let mut consumers = grouped(table, CONSUMERS, rows, |row| {
            Ok(ContainerConsumerRow {
                name: row.text()?,
                url: row.text()?,
                created: row.time()?,
                updated: row.time()?,
            })
        })?;
        let mut acls = self.acls(&CONTAINER_ACLS, &first, &last).await?;
        for container in &mut containers {
            container.secrets = secrets.remove(&container.id).unwrap_or_default();
            container.consumers = consumers.remove(&container.id).unwrap_or_default();
            container.acls = acls.remove(&container.id).unwrap_or_default();
        }
        Ok(containers)
    }

    /// The quotas of all projects that have any.
    ///
    /// # Errors
    /// As for [`Self::keks`].
    pub async fn quotas(&mut self) -> Result<Vec<QuotaRow>, SourceError> {
        const COLUMNS: &[&str] = &[
            "id",
            "project_id",
            "secrets",
            "orders",
            "containers",
            "consumers",
            "cas",
            "created_at",
            "updated_at",
        ];
        let rows = self.all("project_quotas", COLUMNS).await?;
        let mut quotas = Vec::new();
        for row in rows {
            let mut row = Reader::new("project_quotas", COLUMNS, row);
            quotas.push(QuotaRow {
                id: row.id()?,
                project: row.optional()?.and_then(|id| self.projects.get(&id).cloned()),
                secrets: row.number()?,
                orders: row.number()?,
                containers: row.number()?,
                consumers: row.number()?,
                cas: row.number()?,
                created: row.time()?,
                updated: row.time()?,
            });
        }
        Ok(quotas)
    }

    async fn all(
        &mut self,
        table: &'static str,
        columns: &'static [&'static str],
    ) -> Result<Vec<Texts>, SourceError> {
        let select = Select { table, columns, range: Range::All, live: false, order: &["id"], limit: None };
        self.connection.select(select).await
    }

    async fn page(
        &mut self,
        table: &'static str,
        columns: &'static [&'static str],
        after: Option<&str>,
    ) -> Result<Vec<Texts>, SourceError> {
        let range = after.map_or(Range::All, Range::After);
        let select = Select { table, columns, range, live: false, order: &["id"], limit: Some(PAGE) };
        self.connection.select(select).await
    }

    /// The live rows that belong to a page of objects; their first column names the object.
    async fn children(
        &mut self,
        table: &'static str,
        columns: &'static [&'static str],
        first: &str,
        last: &str,
        order: &'static [&'static str],
    ) -> Result<Vec<Texts>, SourceError> {
        let parent = columns.first().copied().unwrap_or("id");
        let range = Range::Between(parent, first, last);
        self.connection.select(Select { table, columns, range, live: true, order, limit: None }).await
    }
}

/// Rows by the object they belong to.
type Grouped<T> = HashMap<String, Vec<T>>;

fn grouped<T>(
    table: &'static str,
    columns: &'static [&'static str],
    rows: Vec<Texts>,
    mut read: impl FnMut(&mut Reader) -> Result<T, SourceError>,
) -> Result<Grouped<T>, SourceError> {
    let mut groups = Grouped::new();
    for row in rows {
        let mut row = Reader::new(table, columns, row);
        let parent = row.id()?;
        groups.entry(parent).or_default().push(read(&mut row)?);
    }
    Ok(groups)
}

/// The ids of the first and the last of a page.
fn ends<T>(page: &[T], id: impl Fn(&T) -> &String) -> Option<(String, String)> {
    Some((id(page.first()?).clone(), id(page.last()?).clone()))
}

/// Where access lists of one sort of objects are.
struct AclTables {
    acls: &'static str,
    users: &'static str,
    parent: &'static str,
    columns: &'static [&'static str],
}

const SECRET_ACLS: AclTables = AclTables {
    acls: "secret_acls",
    users: "secret_acl_users",
    parent: "secret_id",
    columns: &["secret_id", "id", "operation", "project_access", "created_at", "updated_at"],
};
const CONTAINER_ACLS: AclTables = AclTables {
    acls: "container_acls",
    users: "container_acl_users",
    parent: "container_id",
    columns: &["container_id", "id", "operation", "project_access", "created_at", "updated_at"],
};
