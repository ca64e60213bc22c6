//! Who asks for a page, and what he may see.

use std::{convert::Infallible, net::SocketAddr};

use axum::{
    extract::{FromRequest, FromRequestParts, Request, State},
    http::{HeaderMap, HeaderValue, StatusCode, header, request::Parts, uri::Scheme},
    middleware::Next,
    response::{IntoResponse, Response},
};
use bygone_access::{Principal, Right};
use bygone_base::{Error, ErrorKind, Result};
use bygone_catalog::{
    Id,
    record::{Actor, AlertStatus, Project, Session},
};
use bygone_control::By;
use maud::Markup;

use crate::{
    cookie,
    failure::{Answer, Failure, Said},
    form::Form,
    notice::{self, Notice},
    part::shell::{self, Frame},
    site::Site,
};

/// Bytes of a form at most.
const LARGEST: usize = 256 << 10;

/// What each request says of its sender.
#[derive(Debug, Clone)]
pub(crate) struct Caller {
    pub(crate) headers: HeaderMap,
    /// The address of the client, where the server knows it.
    pub(crate) address: Option<String>,
    /// It came by TLS, to us or to a proxy before us.
    pub(crate) tls: bool,
}

impl<S: Sync> FromRequestParts<S> for Caller {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Self::Rejection> {
        let address = parts.extensions.get::<SocketAddr>().map(|address| address.ip().to_string());
        let tls = parts.extensions.get::<Scheme>() == Some(&Scheme::HTTPS);
        Ok(Caller { headers: parts.headers.clone(), address, tls })
    }
}

/// What stands behind the `?` of an address.
#[derive(Debug)]
pub(crate) struct Asked(pub(crate) Form);

impl<S: Sync> FromRequestParts<S> for Asked {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Self::Rejection> {
        Ok(Asked(Form::parse(parts.uri.query().unwrap_or_default().as_bytes())))
    }
}

/// Somebody who is logged in.
#[derive(Debug, Clone)]
pub(crate) struct Visitor {
    pub(crate) caller: Caller,
    pub(crate) principal: Principal,
    pub(crate) session: Session,
    notice: Option<Notice>,
}

impl FromRequestParts<Site> for Visitor {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, site: &Site) -> Result<Self, Self::Rejection> {
        let Ok(caller) = Caller::from_request_parts(parts, site).await;
        let next = parts.uri.path_and_query().map_or("/", |uri| uri.as_str()).to_owned();
        let Some(secret) = cookie::session(&caller) else {
            return Err(Failure::Login(next));
        };
        let found = site.access.session(secret, caller.address.as_deref()).await?;
        let Some((principal, session)) = found else { return Err(Failure::Login(next)) };
        let notice = cookie::get(&caller.headers, cookie::NOTICE);
        let notice = notice.and_then(|word| Notice::open(site, word, &session.id));
        Ok(Visitor { caller, principal, session, notice })
    }
}

/// Errors are pages with navigation, too, for who is logged in.
pub(crate) async fn framed_errors(
    State(site): State<Site>,
    request: Request,
    next: Next,
) -> Response {
    let (mut parts, body) = request.into_parts();
    let response = next.run(Request::from_parts(parts.clone(), body)).await;
    let Some(said) = response.extensions().get::<Said>().cloned() else { return response };
    let Ok(visitor) = Visitor::from_request_parts(&mut parts, &site).await else {
        return response;
    };
    match visitor.error_page(&site, parts.uri.path(), &said).await {
        Ok(mut page) => {
            *page.status_mut() = response.status();
            page
        }
        Err(_) => response,
    }
}

/// A form that somebody who is logged in sent from a page of ours: what changes anything takes this, and so nothing
/// changes without the token.
#[derive(Debug)]
pub(crate) struct Posted {
    pub(crate) visitor: Visitor,
    pub(crate) form: Form,
}

impl FromRequest<Site> for Posted {
    type Rejection = Failure;

    async fn from_request(request: Request, site: &Site) -> Result<Self, Self::Rejection> {
        let (mut parts, body) = request.into_parts();
        // What was to be done is not done after the login: the overview is shown.
        let visitor = match Visitor::from_request_parts(&mut parts, site).await {
            Err(Failure::Login(_)) => return Err(Failure::Login("/".to_owned())),
            other => other?,
        };
        let form = read(body).await?;
        let token = form.raw("csrf");
        if blake3::hash(token.as_bytes()) != blake3::hash(visitor.session.csrf.as_bytes()) {
            return Err(Error::new(
                ErrorKind::Denied,
                "this form is not from a page of this session",
            )
            .hint("go back, load the page anew and try again")
            .into());
        }
        Ok(Posted { visitor, form })
    }
}

/// The form in a body.
pub(crate) async fn read(body: axum::body::Body) -> Result<Form> {
    let bytes = axum::body::to_bytes(body, LARGEST).await;
    let bytes = bytes.map_err(|_| Error::usage(format!("a form has at most {LARGEST} bytes")))?;
    Ok(Form::parse(&bytes))
}

/// A project that the visitor may see, and he.
#[derive(Debug)]
pub(crate) struct Scope<'a> {
    pub(crate) visitor: &'a Visitor,
    pub(crate) project: Project,
}

impl Visitor {
    /// Whether he may.
    pub(crate) fn may(&self, right: Right, project: Option<&Id>) -> bool {
        self.principal.may(right, project)
    }

    /// Goes on if he may, everywhere.
    ///
    /// # Errors
    /// Denied.
    pub(crate) fn needs(&self, right: Right) -> Result<()> {
        if self.may(right, None) { Ok(()) } else { Err(denied(right)) }
    }

    /// A project where he may.
    ///
    /// # Errors
    /// `NotFound`: there is none, or none that he may see. Denied: he may see it only.
    pub(crate) async fn within(
        &self,
        site: &Site,
        project: &str,
        right: Right,
    ) -> Result<Scope<'_>> {
        let missing = || Error::new(ErrorKind::NotFound, format!("there is no project {project}"));
        let id: Id = project.parse().map_err(|_| missing())?;
        if !self.may(Right::Look, Some(&id)) {
            return Err(missing());
        }
        let project = site.control.project(&id).await.map_err(|e| match e.kind() {
            ErrorKind::NotFound => missing(),
            _ => e,
        })?;
        if !self.may(right, Some(&id)) {
            return Err(denied(right));
        }
        Ok(Scope { visitor: self, project })
    }

    /// The page of an error, as one of the project that the path names, where he may see that.
    async fn error_page(&self, site: &Site, path: &str, said: &Said) -> Answer {
        let named = path.strip_prefix("/p/").and_then(|rest| rest.split('/').next());
        let main = said.draw();
        if let Some(id) = named
            && let Ok(scope) = self.within(site, id, Right::Look).await
        {
            return scope.page(site, said.title(), "", main).await;
        }
        self.page(site, said.title(), "", main).await
    }

    /// In whose name he changes things.
    pub(crate) fn by(&self) -> By {
        self.principal.by()
    }

    /// His name.
    pub(crate) fn name(&self) -> &str {
        match &self.principal.actor {
            Actor::User(name) | Actor::ApiKey(name) | Actor::Agent(name) => name,
            Actor::System => "",
        }
    }

    /// The token of his forms.
    pub(crate) fn csrf(&self) -> &str {
        &self.session.csrf
    }

    /// A page about the server.
    pub(crate) async fn page(&self, site: &Site, title: &str, here: &str, main: Markup) -> Answer {
        self.framed(site, title, None, here, main).await
    }

    async fn framed(
        &self,
        site: &Site,
        title: &str,
        project: Option<&Project>,
        here: &str,
        main: Markup,
    ) -> Answer {
        let scope = project.map(|project| &project.id);
        let everywhere = self.may(Right::Look, None);
        let mut open = site.control.alerts(scope.filter(|_| !everywhere)).await?;
        open.retain(|alert| alert.status == AlertStatus::Open);
        let frame = Frame {
            title,
            here,
            project,
            name: self.name(),
            csrf: self.csrf(),
            everywhere,
            keys: self.may(Right::Agents, scope),
            users: self.may(Right::Users, None),
            alerts: open.iter().filter(|alert| alert.project.as_ref() == scope).count(),
            all_alerts: if everywhere { open.len() } else { 0 },
            notice: self.notice.as_ref(),
        };
        let mut response = shell::page(&frame, main).into_response();
        if self.notice.is_some() {
            set_cookie(&mut response, &cookie::set(&self.caller, cookie::NOTICE, "", 0));
        }
        Ok(response)
    }

    /// Goes to another page, which says this once.
    pub(crate) fn go(&self, site: &Site, to: &str, notice: &Notice) -> Answer {
        let word = notice.seal(site, &self.session.id)?;
        let mut response = see(to);
        let set = cookie::set(&self.caller, cookie::NOTICE, &word, notice::SECS);
        set_cookie(&mut response, &set);
        Ok(response)
    }
}

impl Scope<'_> {
    /// The project's id.
    pub(crate) fn id(&self) -> &Id {
        &self.project.id
    }

    /// The address of something of the project.
    pub(crate) fn path(&self, rest: &str) -> String {
        format!("/p/{}{rest}", self.project.id)
    }

    /// The address of a job's page.
    pub(crate) fn job(&self, job: &impl std::fmt::Display) -> String {
        self.path(&format!("/j/{job}"))
    }

    /// Whether he may, here.
    pub(crate) fn may(&self, right: Right) -> bool {
        self.visitor.may(right, Some(&self.project.id))
    }

    /// A page of the project.
    pub(crate) async fn page(&self, site: &Site, title: &str, here: &str, main: Markup) -> Answer {
        self.visitor.framed(site, title, Some(&self.project), here, main).await
    }
}

fn denied(right: Right) -> Error {
    let what = match right {
        Right::Look => "see this",
        Right::Backup => "change backups",
        Right::Restore => "restore",
        Right::Stores => "change stores",
        Right::Users => "change users, projects and API keys",
        Right::Settings => "change settings",
        Right::Agents => "change agent keys",
    };
    Error::new(ErrorKind::Denied, format!("your roles do not let you {what}"))
        .hint("a Global Owner can give you the role")
}

/// Goes to another page.
pub(crate) fn see(to: &str) -> Response {
    let mut response = StatusCode::SEE_OTHER.into_response();
    // Addresses are made of ids and fixed words.
    let to = HeaderValue::from_str(to).unwrap_or_else(|_| HeaderValue::from_static("/"));
    response.headers_mut().insert(header::LOCATION, to);
    response
}

/// Adds a cookie to an answer.
pub(crate) fn set_cookie(response: &mut Response, cookie: &str) {
    if let Ok(value) = HeaderValue::from_str(cookie) {
        response.headers_mut().append(header::SET_COOKIE, value);
    }
}
