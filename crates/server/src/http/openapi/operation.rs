//! How one operation is described: a path and a method, what a request holds, which answers there are.
//!
//! For routes whose handlers read their requests by hand, so that no description could be derived from them. What the
//! answers to all of them have in common is added in one place, [`super::common`].

use utoipa::ToSchema;
use utoipa::openapi::path::{
    HttpMethod, Operation as Inner, OperationBuilder, ParameterBuilder, ParameterIn,
};
use utoipa::openapi::request_body::RequestBodyBuilder;
use utoipa::openapi::schema::{ArrayBuilder, Object, ObjectBuilder, Schema, Type};
use utoipa::openapi::{Content, HeaderBuilder, OpenApi, Ref, RefOr, Required, Response, ResponseBuilder};

pub(super) const JSON: &str = "application/json";

/// Named schemas that operations refer to.
pub(super) type Schemas = Vec<(String, RefOr<Schema>)>;

/// An operation with the schemas it needs.
pub(super) struct Operation {
    method: HttpMethod,
    path: &'static str,
    inner: Inner,
    schemas: Schemas,
}

pub(super) fn text() -> ObjectBuilder {
    ObjectBuilder::new().schema_type(Type::String)
}

pub(super) fn integer() -> ObjectBuilder {
    ObjectBuilder::new().schema_type(Type::Integer)
}

pub(super) fn truth() -> ObjectBuilder {
    ObjectBuilder::new().schema_type(Type::Boolean)
}

/// A reference to the schema of that type, which is registered with all it refers to itself.
pub(super) fn named<T: ToSchema>(schemas: &mut Schemas) -> RefOr<Schema> {
    let name = T::name().into_owned();
    schemas.push((name.clone(), T::schema()));
    T::schemas(schemas);
    Ref::from_schema_name(name).into()
}

pub(super) fn content(schema: impl Into<RefOr<Schema>>) -> Content {
    Content::new(Some(schema))
}

impl Operation {
    /// `id` names it among all operations, `summary` says in one sentence what it does.
    pub(super) fn new(method: HttpMethod, path: &'static str, id: &str, summary: &str) -> Self {
        let inner = OperationBuilder::new().operation_id(Some(id)).summary(Some(summary)).build();
        Self { method, path, inner, schemas: Schemas::new() }
    }

    /// More than one sentence.
    pub(super) fn explained(mut self, text: &str) -> Self {
        self.inner.description = Some(text.to_owned());
        self
    }

    fn parameter(
        mut self,
        place: ParameterIn,
        name: &str,
        schema: ObjectBuilder,
        description: &str,
        required: Required,
    ) -> Self {
        let parameter = ParameterBuilder::new()
            .name(name)
            .parameter_in(place)
            .required(required)
            .description(Some(description))
            .schema(Some(schema))
            .build();
        self.inner.parameters.get_or_insert_default().push(parameter.into());
        self
    }

    /// A part of the path.
    pub(super) fn part(self, name: &str, schema: ObjectBuilder, description: &str) -> Self {
        self.parameter(ParameterIn::Path, name, schema, description, Required::True)
    }

    /// A parameter of the query that may be there.
    pub(super) fn query(self, name: &str, schema: ObjectBuilder, description: &str) -> Self {
        self.parameter(ParameterIn::Query, name, schema, description, Required::False)
    }

    /// A header that may be there.
    pub(super) fn header(self, name: &str, schema: ObjectBuilder, description: &str) -> Self {
        self.parameter(ParameterIn::Header, name, schema, description, Required::False)
    }

    /// A body of JSON.
    pub(super) fn takes<T: ToSchema>(mut self) -> Self {
        let schema = named::<T>(&mut self.schemas);
        let body =
            RequestBodyBuilder::new().content(JSON, content(schema)).required(Some(Required::True)).build();
        self.inner.request_body = Some(body.into());
        self
    }

    /// A body of bytes, in any of these media types.
    pub(super) fn takes_bytes(mut self, kinds: &[&str], description: &str) -> Self {
        let mut body =
            RequestBodyBuilder::new().description(Some(description)).required(Some(Required::True));
        for kind in kinds {
            body = body.content(*kind, content(text().min_length(Some(1))));
        }
        self.inner.request_body = Some(body.build().into());
        self
    }

    fn answers(mut self, status: u16, response: Response) -> Self {
        self.inner.responses.responses.insert(status.to_string(), response.into());
        self
    }

    /// An answer of JSON.
    pub(super) fn gives<T: ToSchema>(mut self, status: u16, description: &str) -> Self {
        let schema = named::<T>(&mut self.schemas);
        let response = ResponseBuilder::new().description(description).content(JSON, content(schema));
        self.answers(status, response.build())
    }

    /// An answer without a body.
    pub(super) fn gives_nothing(self, status: u16, description: &str) -> Self {
        self.answers(status, Response::new(description))
    }

    /// An answer of JSON that is null.
    pub(super) fn gives_null(self, status: u16, description: &str) -> Self {
        let null = ObjectBuilder::new().schema_type(Type::Null);
        let response = ResponseBuilder::new().description(description).content(JSON, content(null));
        self.answers(status, response.build())
    }

    /// An answer of JSON whose schema has no type of its own, under that name.
    pub(super) fn gives_object(mut self, status: u16, name: &str, schema: Object, description: &str) -> Self {
        self.schemas.push((name.to_owned(), Schema::from(schema).into()));
        let schema = Ref::from_schema_name(name);
        let response = ResponseBuilder::new().description(description).content(JSON, content(schema));
        self.answers(status, response.build())
    }

    /// The same answer in other media types.
    pub(super) fn or_bytes(mut self, status: u16, kinds: &[&str]) -> Self {
        if let Some(RefOr::T(response)) = self.inner.responses.responses.get_mut(&status.to_string()) {
            response.content.extend(kinds.iter().map(|kind| ((*kind).to_owned(), content(text()).into())));
        }
        self
    }

    /// A page of a list of these, which is called `list`; the schema of the page has that name.
    pub(super) fn gives_page<T: ToSchema>(mut self, name: &str, list: &str) -> Self {
        let entry = named::<T>(&mut self.schemas);
        self.gives_page_of(name, list, entry)
    }

    /// The same for entries without a type of their own.
    pub(super) fn gives_page_of(self, name: &str, list: &str, entry: impl Into<RefOr<Schema>>) -> Self {
        let schema = ObjectBuilder::new()
            .property(list, ArrayBuilder::new().items(entry.into()))
            .required(list)
            .property(
                "total",
                integer().minimum(Some(0)).description(Some("How many there are on all pages")),
            )
            .required("total")
            .property("next", text().description(Some("The next page, if there is one")))
            .property("previous", text().description(Some("The page before, if there is one")))
            .build();
        self.gives_object(200, name, schema, "A page of the list")
            .query(
                "limit",
                integer(),
                "How many entries to show; too many are fewer, and what is no number is not looked at",
            )
            .query("offset", integer(), "How many entries to leave out; what is no number is not looked at")
    }

    /// The address of what was made or changed, under `key`.
    pub(super) fn gives_reference(self, status: u16, name: &str, key: &str, description: &str) -> Self {
        let schema = ObjectBuilder::new().property(key, text()).required(key).build();
        self.gives_object(status, name, schema, description)
    }

    /// Adds `Location` to the answer of that status.
    pub(super) fn located(mut self, status: u16) -> Self {
        let header = HeaderBuilder::new().schema(Some(text())).description(Some("Its address")).build();
        if let Some(RefOr::T(response)) = self.inner.responses.responses.get_mut(&status.to_string()) {
            response.headers.insert("Location".to_owned(), header.into());
        }
        self
    }

    /// A refusal that means something of its own here.
    pub(super) fn refuses(self, status: u16, error: &str, description: &str) -> Self {
        let schema = Ref::from_schema_name(error);
        let response = ResponseBuilder::new().description(description).content(JSON, content(schema));
        self.answers(status, response.build())
    }

    /// Puts it into a document.
    pub(super) fn add_to(self, document: &mut OpenApi, tag: &str) {
        let mut inner = self.inner;
        inner.tags = Some(vec![tag.to_owned()]);
        document.paths.add_path_operation(self.path, vec![self.method], inner);
        document.components.get_or_insert_default().schemas.extend(self.schemas);
    }
}
