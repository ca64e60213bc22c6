//! A job's source as it was given, secrets included: to change one thing of it, or to restore into it.

use bygone_base::Result;
use bygone_catalog::record::Job;

use crate::{Control, NewSource};

impl Control {
    /// The source that was given for a job. Its URI holds its secrets: it is never shown.
    ///
    /// # Errors
    /// Denied: the catalog's key is another one.
    pub fn source_as_given(&self, job: &Job) -> Result<NewSource> {
        let source = job.source.clone();
        let uri = self.seal().open(&source.uri, &format!("job/{}", job.id))?;
        Ok(NewSource {
            uri: uri.as_str().to_owned(),
            include: source.include,
            exclude: source.exclude,
            member: source.member,
            member_tag: source.member_tag,
            throttle: source.throttle,
            workers: source.workers,
        })
    }
}
