//! `GET /v1/events`: what happened, such as failovers, restarts and refusals.

use actix_web::{HttpRequest, HttpResponse, web};

use crate::clock;
use crate::history::{EventPage, GetEvents, HistoryError, HistoryPorts, Page};
use crate::http::accept::Form;
use crate::http::error::ApiError;
use crate::http::query::EventsQuestion;
use crate::http::rows::{csv_response, json_members, json_response};
use crate::http::{Shared, ask_storage};
use crate::rate_book::RecordedEvent;

/// `GET /v1/events`.
pub(in crate::http) async fn rows(
    request: HttpRequest,
    shared: web::Data<Shared>,
) -> Result<HttpResponse, ApiError> {
    let question = EventsQuestion::read(request.query_string(), &shared.offer, clock::now().wall)?;
    let form = Form::wanted(request.headers())?;
    let ports = shared.history()?.clone();
    if form == Form::Csv {
        let file_name = |_| "events.csv".to_owned();
        return csv_response(&request, question.most_rows(), file_name, move |step| {
            let message = question.part(step.from, step.limit);
            let ports = ports.clone();
            async move { ask(&ports, message).await }
        })
        .await;
    }
    let page = ask(&ports, question.page()).await?;
    let cursor = page.next.map(|next| question.cursor(next));
    let link = cursor.as_deref().map(|cursor| format!("{}?{}", request.path(), question.next_query(cursor)));
    json_response(format!("{{{}}}", json_members(&page.rows, cursor.as_deref())), link)
}

async fn ask(ports: &HistoryPorts, message: GetEvents) -> Result<Page<RecordedEvent>, HistoryError> {
    let EventPage { events: rows, next } = ask_storage(&ports.events, message).await?;
    Ok(Page { exchange: None, rows, next })
}
