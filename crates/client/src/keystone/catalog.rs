//! The service catalogue of a token: where services are.
//!
//! Owns finding one endpoint by service type, interface and region. Refuses to guess: what is missing is named
//! together with what there is.

use serde::Deserialize;

/// The services a token knows.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(transparent)]
pub struct Catalog {
    /// The entries in Keystone's order.
    pub services: Vec<CatalogService>,
}

/// One service of the catalogue.
#[derive(Debug, Clone, Deserialize)]
pub struct CatalogService {
    /// The service type, for example `key-manager`.
    #[serde(rename = "type")]
    pub service_type: String,
    /// The operator's name for it.
    #[serde(default)]
    pub name: Option<String>,
    /// Where it is.
    #[serde(default)]
    pub endpoints: Vec<CatalogEndpoint>,
}

/// One endpoint of a service.
#[derive(Debug, Clone, Deserialize)]
pub struct CatalogEndpoint {
    /// `public`, `internal` or `admin`.
    pub interface: String,
    /// The region's id.
    #[serde(default)]
    pub region_id: Option<String>,
    /// The region by its older name, which Keystone still sends.
    #[serde(default)]
    pub region: Option<String>,
    /// The endpoint's URL.
    pub url: String,
}

impl CatalogEndpoint {
    fn in_region(&self, region: &str) -> bool {
        self.region_id.as_deref() == Some(region) || self.region.as_deref() == Some(region)
    }

    fn region_name(&self) -> &str {
        self.region_id.as_deref().or(self.region.as_deref()).unwrap_or("none")
    }
}

/// Which of a service's faces to use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Interface {
    /// For everyone.
    #[default]
    Public,
    /// For the cloud's own services.
    Internal,
    /// For administrators; historic.
    Admin,
}

impl Interface {
    /// The catalogue's word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Public => "public",
            Self::Internal => "internal",
            Self::Admin => "admin",
        }
    }

    /// Reads `public`, `internal`, `admin` or the older forms with `URL` at the end; `None` for anything else.
    pub fn parse(text: &str) -> Option<Self> {
        match text.strip_suffix("URL").unwrap_or(text) {
            "public" => Some(Self::Public),
            "internal" => Some(Self::Internal),
            "admin" => Some(Self::Admin),
            _ => None,
        }
    }
}

/// Why no endpoint was found.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EndpointError {
    /// The catalogue has no such service, or this token was issued without a catalogue.
    #[error(
        "the service catalogue has no service of type `{service_type}`; register one in Keystone or name the endpoint yourself"
    )]
    NoService {
        /// The type looked for.
        service_type: String,
    },
    /// The service is there, but not with this interface and region.
    #[error(
        "service type `{service_type}` has no `{interface}` endpoint in region `{region}`; there are: {available}"
    )]
    NoEndpoint {
        /// The type looked for.
        service_type: String,
        /// The interface looked for.
        interface: &'static str,
        /// The region looked for, or `any`.
        region: String,
        /// What there is, as `interface in region`.
        available: String,
    },
}

/// The URL of a service: the first endpoint of that type with this interface, in this region when one is given.
pub fn find_endpoint<'catalog>(
    catalog: &'catalog Catalog,
    service_type: &str,
    interface: Interface,
    region: Option<&str>,
) -> Result<&'catalog str, EndpointError> {
    let mut endpoints = catalog
        .services
        .iter()
        .filter(|service| service.service_type == service_type)
        .flat_map(|service| &service.endpoints)
        .peekable();
    if endpoints.peek().is_none() {
        return Err(EndpointError::NoService { service_type: service_type.into() });
    }
    let mut available = Vec::new();
    for endpoint in endpoints {
        if Interface::parse(&endpoint.interface) == Some(interface)
            && region.is_none_or(|region| endpoint.in_region(region))
        {
            return Ok(&endpoint.url);
        }
        if available.len() < 12 {
            available.push(format!("{} in {}", endpoint.interface, endpoint.region_name()));
        }
    }
    Err(EndpointError::NoEndpoint {
        service_type: service_type.into(),
        interface: interface.as_str(),
        region: region.unwrap_or("any").into(),
        available: available.join(", "),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn catalog() -> Catalog {
        serde_json::from_value(serde_json::json!([
            {"type": "identity", "name": "keystone", "id": "1", "endpoints": [
                {"interface": "public", "region_id": "RegionOne", "region": "RegionOne", "url": "http://k/v3", "id": "e"}]},
            {"type": "key-manager", "name": "chatelaine", "id": "2", "endpoints": [
                {"interface": "admin", "region_id": "RegionOne", "url": "http://a1:9311"},
                {"interface": "public", "region_id": "RegionOne", "url": "http://p1:9311"},
                {"interface": "public", "region": "RegionTwo", "url": "http://p2:9311"}]},
            {"type": "object-store", "id": "3"},
        ]))
        .unwrap()
    }

    #[test]
    fn finds_by_interface_and_region() {
        let catalog = catalog();
        let find = |interface, region| find_endpoint(&catalog, "key-manager", interface, region);
        assert_eq!(find(Interface::Public, None), Ok("http://p1:9311"));
        assert_eq!(find(Interface::Public, Some("RegionTwo")), Ok("http://p2:9311"));
        assert_eq!(find(Interface::Admin, None), Ok("http://a1:9311"));
    }

    #[test]
    fn names_what_is_missing() {
        let catalog = catalog();
        let error = find_endpoint(&catalog, "key-manager", Interface::Internal, None).unwrap_err();
        assert!(error.to_string().contains("public in RegionTwo"), "{error}");
        let error = find_endpoint(&catalog, "key-manager", Interface::Admin, Some("Mars")).unwrap_err();
        assert!(error.to_string().contains("`Mars`"), "{error}");
        for missing in ["volume", "object-store"] {
            assert!(matches!(
                find_endpoint(&catalog, missing, Interface::Public, None),
                Err(EndpointError::NoService { .. })
            ));
        }
    }

    #[test]
    fn interface_words() {
        assert_eq!(Interface::parse("internalURL"), Some(Interface::Internal));
        assert_eq!(Interface::parse("public"), Some(Interface::Public));
        assert_eq!(Interface::parse("PUBLIC"), None);
    }
}
