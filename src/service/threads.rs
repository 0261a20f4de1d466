//! A virtual server on a thread of its own.

use std::io;
use std::thread;
use std::thread::JoinHandle;

use crate::net::ready;
use crate::service::keeper;
use crate::service::keeper::Post;
use crate::service::line::Line;
use crate::service::line::News;
use crate::service::line::StartError;

/// Starts the thread, which keeps the server to its end.
pub fn run(post: Post) -> io::Result<JoinHandle<()>> {
    // Fifteen bytes of it are shown by the system.
    let name = post.config.name.chars().take(15);
    let name: String = name.filter(|c| *c != '\0').collect();
    let work = move || {
        let farewell = Farewell(post.line.clone());
        if let Err(error) = ready::block_on(Box::pin(keeper::keep(post))) {
            let error = StartError::Io(error.to_string());
            farewell.0.report(News::Failed(error, None));
        }
    };
    thread::Builder::new().name(name).spawn(work)
}

/// Reports the end of a thread, however it ends.
struct Farewell(Line);

impl Drop for Farewell {
    fn drop(&mut self) {
        self.0.report(News::Ended);
    }
}
