//! A request whose sender may do what it asks.

use std::{collections::HashMap, sync::Arc};

use axum::http::StatusCode;
use bygone_access::{Access, Principal, Right};
use bygone_base::SnapshotId;
use bygone_catalog::{Id, record::Job};
use bygone_control::{By, Control, views::JobView};
use bytes::Bytes;
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

use crate::{
    auth::Proof,
    failure::Failure,
    schema::{Book, JsonSchema, field, object},
};

/// Items of a page at most, as in Ops Manager, and where nothing is said.
const PAGE: (usize, usize) = (500, 100);

/// A request.
pub(crate) struct Call {
    pub(crate) control: Arc<Control>,
    pub(crate) access: Arc<Access>,
    pub(crate) who: Principal,
    /// How he proved it.
    pub(crate) proof: Proof,
    /// `scheme://host`, as the client wrote it.
    pub(crate) origin: String,
    /// The path, without what follows `?`.
    pub(crate) at: String,
    pub(crate) path: HashMap<String, String>,
    pub(crate) query: Vec<(String, String)>,
    pub(crate) body: Bytes,
    /// The project of the path, which its sender may look at.
    pub(crate) project: Option<Id>,
}

/// A place beside this one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub(crate) struct Link {
    /// What it is to this one.
    pub(crate) rel: String,
    /// URL.
    pub(crate) href: String,
}

/// A page of a list.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct List<T> {
    /// This page, and those beside it.
    pub(crate) links: Vec<Link>,
    /// What is on it.
    pub(crate) results: Vec<T>,
    /// How many there are on all pages.
    pub(crate) total_count: u64,
}

impl<T: JsonSchema> JsonSchema for List<T> {
    fn schema(book: &mut Book) -> Value {
        let fields = vec![
            field::<Vec<Link>>(book, "links", "This page, and those beside it."),
            field::<Vec<T>>(book, "results", "What is on it."),
            field::<u64>(book, "totalCount", "How many there are on all pages."),
        ];
        object("A page of a list.", fields, false)
    }
}

/// Which page.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PageAsked {
    number: usize,
    items: usize,
}

impl PageAsked {
    /// How many items are on the pages before.
    pub(crate) fn skip(self) -> usize {
        (self.number - 1).saturating_mul(self.items)
    }

    /// How many are on this one.
    pub(crate) fn take(self) -> usize {
        self.items
    }
}

impl Call {
    pub(crate) fn by(&self) -> By {
        self.who.by()
    }

    /// The project of the path.
    pub(crate) fn project(&self) -> Result<&Id, Failure> {
        self.project.as_ref().ok_or_else(|| Failure::not_found("GROUP_NOT_FOUND", "project"))
    }

    /// Demands another right than the route's, in the same project, or everywhere where it has none.
    pub(crate) fn must(&self, right: Right) -> Result<(), Failure> {
        if self.who.may(right, self.project.as_ref()) {
            return Ok(());
        }
        Err(Failure::forbidden(&format!("this needs the right {right:?}")))
    }

    /// Demands that the sender may have the server connect by this URI; one that is there already is not asked about.
    pub(crate) fn may_connect(&self, uri: &str, before: Option<&str>) -> Result<(), Failure> {
        self.who.may_connect(uri, before).map_err(|error| {
            let failure = Failure::forbidden(&error.to_string());
            failure.hint(error.hint_text().unwrap_or_default())
        })
    }

    /// A segment of the path.
    pub(crate) fn text(&self, name: &str) -> &str {
        self.path.get(name).map_or("", String::as_str)
    }

    /// An id in the path; what is none belongs to nothing.
    pub(crate) fn id(&self, name: &str) -> Result<Id, Failure> {
        self.text(name).parse().map_err(|_| Failure::not_found("RESOURCE_NOT_FOUND", name))
    }

    /// The job that the path names.
    pub(crate) async fn job(&self, name: &str) -> Result<JobView, Failure> {
        let missing = || Failure::not_found("CLUSTER_NOT_FOUND", "cluster");
        let id: Id = self.text(name).parse().map_err(|_| missing())?;
        let found = self.control.job(self.project()?, &id).await;
        found.map_err(|e| Failure::from(e).missing_is("CLUSTER_NOT_FOUND"))
    }

    /// The snapshot that the path names.
    pub(crate) fn snapshot_id(&self, name: &str) -> Result<SnapshotId, Failure> {
        let id = self.text(name).parse();
        id.map_err(|_| Failure::not_found("SNAPSHOT_NOT_FOUND", "snapshot"))
    }

    /// A value after `?`; the first, where there are several.
    pub(crate) fn asked(&self, name: &str) -> Option<&str> {
        self.all_asked(name).next()
    }

    /// All values of one name after `?`.
    pub(crate) fn all_asked(&self, name: &str) -> impl Iterator<Item = &str> {
        let named = self.query.iter().filter(move |(known, _)| known == name);
        named.map(|(_, value)| value.as_str())
    }

    /// A whole number after `?`.
    pub(crate) fn number(&self, name: &str) -> Result<Option<usize>, Failure> {
        let parse = |text: &str| {
            text.parse().map_err(|_| Failure::invalid(name, format!("{text:?} is not a number")))
        };
        self.asked(name).map(parse).transpose()
    }

    /// An id after `?`.
    pub(crate) fn id_asked(&self, name: &str) -> Result<Option<Id>, Failure> {
        let parse = |text: &str| {
            text.parse().map_err(|_| Failure::invalid(name, format!("{text:?} is not an id")))
        };
        self.asked(name).map(parse).transpose()
    }

    /// The body.
    pub(crate) fn read<B: DeserializeOwned>(&self) -> Result<B, Failure> {
        serde_json::from_slice(&self.body).map_err(|e| {
            let code = if e.is_data() { "INVALID_ATTRIBUTE" } else { "INVALID_JSON" };
            Failure::new(StatusCode::BAD_REQUEST, code, format!("the body is not understood: {e}"))
        })
    }

    /// A link from here.
    pub(crate) fn link(&self, rel: &str, path: &str) -> Link {
        Link { rel: rel.to_owned(), href: format!("{}{path}", self.origin) }
    }

    /// Which page is asked for (Ops Manager's `pageNum` and `itemsPerPage`).
    pub(crate) fn page(&self) -> Result<PageAsked, Failure> {
        let (most, usual) = PAGE;
        let number = self.number("pageNum")?.unwrap_or(1);
        let items = self.number("itemsPerPage")?.unwrap_or(usual);
        if number == 0 {
            return Err(Failure::invalid("pageNum", "pages are counted from 1"));
        }
        if !(1..=most).contains(&items) {
            let why = format!("a page has 1 to {most} items");
            return Err(Failure::invalid("itemsPerPage", why));
        }
        Ok(PageAsked { number, items })
    }

    /// The page asked for out of all there is.
    pub(crate) fn list<T>(&self, all: Vec<T>) -> Result<List<T>, Failure> {
        let page = self.page()?;
        let total = all.len();
        let results = all.into_iter().skip(page.skip()).take(page.take()).collect();
        Ok(self.list_of(page, results, total as u64))
    }

    /// A page that was already cut out.
    pub(crate) fn list_of<T>(&self, page: PageAsked, results: Vec<T>, total: u64) -> List<T> {
        let to = |rel: &str, number: usize| {
            let mut query = url::form_urlencoded::Serializer::new(String::new());
            query.append_pair("pageNum", &number.to_string());
            query.append_pair("itemsPerPage", &page.items.to_string());
            // Filters and manners hold for the other pages too.
            let others = |name: &str| !matches!(name, "pageNum" | "itemsPerPage");
            query.extend_pairs(self.query.iter().filter(|(name, _)| others(name)));
            self.link(rel, &format!("{}?{}", self.at, query.finish()))
        };
        let mut links = vec![to("self", page.number)];
        if page.number > 1 {
            links.push(to("previous", page.number - 1));
        }
        if (page.skip().saturating_add(page.items) as u64) < total {
            links.push(to("next", page.number + 1));
        }
        List { links, results, total_count: total }
    }

    /// All jobs, by id, that the sender may look at.
    pub(crate) async fn jobs_by_id(&self) -> Result<HashMap<Id, Job>, Failure> {
        let scope = self.project.as_ref().map(Id::as_str);
        let mut jobs: Vec<Job> = self.control.catalog().all(scope).await?;
        jobs.retain(|job| self.who.may(Right::Look, Some(&job.project)));
        Ok(jobs.into_iter().map(|job| (job.id.clone(), job)).collect())
    }
}
