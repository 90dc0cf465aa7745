//! `GET /v1/history` and `GET /v1/history/{direction}.svg`: candles and ticks of one direction of one exchange, as
//! rows and as a picture.

use actix_web::http::header::{self, HeaderValue};
use actix_web::{HttpRequest, HttpResponse, web};

use crate::clock;
use crate::history::{GetCandles, GetTicks, HistoryError, Interval, Page, Range};
use crate::http::accept::Form;
use crate::http::chart::Chart;
use crate::http::error::ApiError;
use crate::http::query::{ChartQuestion, HistoryQuestion, Kind};
use crate::http::rows::{Row, Step, csv_response, json_members, json_response};
use crate::http::{Shared, ask_storage};
use crate::market::ExchangeName;

/// Keeps a picture that is opened by itself from loading or running anything.
const PICTURE_ONLY: HeaderValue = HeaderValue::from_static("default-src 'none'; style-src 'unsafe-inline'");

/// `GET /v1/history`.
pub(in crate::http) async fn rows(
    request: HttpRequest,
    shared: web::Data<Shared>,
) -> Result<HttpResponse, ApiError> {
    let question = HistoryQuestion::read(request.query_string(), &shared.offer, clock::now().wall)?;
    let form = Form::wanted(request.headers())?;
    let ports = shared.history()?.clone();
    match question.kind {
        Kind::Candles(interval) => {
            let ask = move |range| {
                let port = ports.candles.clone();
                async move { ask_storage(&port, GetCandles { range, interval }).await }
            };
            answer(&request, question, form, ask).await
        }
        Kind::Ticks => {
            let ask = move |range| {
                let port = ports.ticks.clone();
                async move { ask_storage(&port, GetTicks { range }).await }
            };
            answer(&request, question, form, ask).await
        }
    }
}

async fn answer<R, Ask, Asking>(
    request: &HttpRequest,
    question: HistoryQuestion,
    form: Form,
    ask: Ask,
) -> Result<HttpResponse, ApiError>
where
    R: Row,
    Ask: Fn(Range) -> Asking + 'static,
    Asking: Future<Output = Result<Page<R>, HistoryError>> + 'static,
{
    let (direction, kind) = (question.direction, question.kind.as_str());
    if form == Form::Csv {
        let file_name =
            move |exchange| format!("{direction}-{kind}-{}.csv", name(exchange).unwrap_or("none"));
        let most = question.most_rows();
        return csv_response(request, most, file_name, move |step: Step| {
            ask(question.part(step.from, step.exchange, step.limit))
        })
        .await;
    }
    let page = ask(question.page()).await?;
    let cursor = page.next.map(|next| question.cursor(next, page.exchange));
    let link = cursor.as_deref().map(|cursor| format!("{}?{}", request.path(), question.next_query(cursor)));
    let exchanger = name(page.exchange).map_or("null".to_owned(), |name| format!("\"{name}\""));
    let start = format!(r#"{{"exchanger":{exchanger},"direction":"{direction}","interval":"{kind}","#);
    json_response(start + &json_members(&page.rows, cursor.as_deref()) + "}", link)
}

/// `GET /v1/history/{direction}.svg`.
pub(in crate::http) async fn chart(
    request: HttpRequest,
    shared: web::Data<Shared>,
) -> Result<HttpResponse, ApiError> {
    let direction = request.match_info().query("direction");
    let now = clock::now().wall;
    let question = ChartQuestion::read(direction, request.query_string(), &shared.offer, now)?;
    let page = ask_storage(&shared.history()?.candles, question.candles()).await?;
    if page.next.is_some() {
        return Err(question.too_many(&shared.offer));
    }
    let chart = Chart {
        title: title(&question, page.exchange),
        candles: &page.rows,
        interval: question.interval,
        from: question.from,
        to: question.to,
        size: question.size,
    };
    let picture = chart.svg().map_err(|error| {
        log::error!("the chart of `{}` cannot be drawn: {error}", question.direction);
        ApiError::Internal
    })?;
    Ok(HttpResponse::Ok()
        .insert_header((header::CACHE_CONTROL, HeaderValue::from_static("no-cache")))
        .insert_header((header::CONTENT_SECURITY_POLICY, PICTURE_ONLY))
        .content_type(HeaderValue::from_static("image/svg+xml"))
        .body(picture))
}

/// `BTC-USDT · binance · 1 minute`.
fn title(question: &ChartQuestion, exchange: Option<ExchangeName>) -> String {
    let interval = match question.interval {
        Interval::Minute => "1 minute",
        Interval::Hour => "1 hour",
        Interval::Day => "1 day",
    };
    let parts =
        [Some(question.direction.to_string()), name(exchange).map(str::to_owned), Some(interval.to_owned())];
    parts.into_iter().flatten().collect::<Vec<_>>().join(" · ")
}

fn name(exchange: Option<ExchangeName>) -> Option<&'static str> {
    exchange.map(|name| name.as_str())
}
