//! A book of quotes that answers what a test tells it to, so that the HTTP side is tested without exchanges.

use std::sync::{Arc, Mutex};

use actix::prelude::*;
use ratebook::clock;
use ratebook::rate_book::{Answer, BookHealth, CoursesError, GetCourses, GetHealth};

/// What the book does when it is asked for courses.
#[derive(Clone)]
pub(super) enum Courses {
    /// It gives these.
    Are(Answer),
    /// It has none.
    Refused(CoursesError),
    /// It never answers.
    Stuck,
}

/// What the book does when it is asked for its health.
#[derive(Clone)]
pub(super) enum Health {
    /// It tells this.
    Is(BookHealth),
    /// It never answers.
    Stuck,
}

/// The book.
pub(super) struct FakeBook {
    pub(super) courses: Courses,
    pub(super) health: Health,
    /// Every question for courses that came.
    pub(super) asked: Arc<Mutex<Vec<GetCourses>>>,
}

impl Actor for FakeBook {
    type Context = Context<Self>;
}

impl Handler<GetCourses> for FakeBook {
    type Result = ResponseFuture<Result<Answer, CoursesError>>;

    fn handle(&mut self, question: GetCourses, _: &mut Self::Context) -> Self::Result {
        self.asked.lock().unwrap().push(question);
        let courses = self.courses.clone();
        Box::pin(async move {
            match courses {
                Courses::Are(answer) => Ok(Answer { at: clock::now(), ..answer }),
                Courses::Refused(error) => Err(error),
                Courses::Stuck => std::future::pending().await,
            }
        })
    }
}

impl Handler<GetHealth> for FakeBook {
    type Result = ResponseFuture<BookHealth>;

    fn handle(&mut self, _: GetHealth, _: &mut Self::Context) -> Self::Result {
        let health = self.health.clone();
        Box::pin(async move {
            match health {
                Health::Is(health) => health,
                Health::Stuck => std::future::pending().await,
            }
        })
    }
}

/// Ends the book.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct Stop;

impl Handler<Stop> for FakeBook {
    type Result = ();

    fn handle(&mut self, _: Stop, context: &mut Self::Context) {
        context.stop();
    }
}
