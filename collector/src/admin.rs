//! The admin address: health, self metrics, and what is pending, for the query station.
//!
//! `GET /writer` names this collector's log as the tables' commits do. `POST /pending` with
//! `{"tables": {"requests": 12, "metrics": 9}}` answers with the rows that follow these positions, all taken at one
//! moment, as [`weir_lake::pending`] has them. `410 Gone` with `{"committed": {…}}` says that a table has committed beyond
//! the position; `503` with `{"lags": {…}}` that some of the rows stand in the log alone and are being read.

mod metrics;

use std::{collections::BTreeMap, sync::Arc};

use axum::{
    Json, Router,
    extract::{Request, State},
    http::{
        StatusCode,
        header::{CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE},
    },
    middleware::{Next, from_fn_with_state},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use serde_json::{Value, json};
use weir_lake::Table;
use weir_station::{admin, token::Tokens};

use crate::{
    Counters, Pending, Refusal,
    intake::now_us,
    listeners::Counts,
    pending::NotNow,
    receive::{Reception, http::CHALLENGE},
    wal::Position,
};

/// What the admin address shows.
#[derive(Clone, Debug)]
pub(crate) struct Admin {
    pub(crate) writer_id: String,
    pub(crate) pending: Arc<Pending>,
    pub(crate) counters: Arc<Counters>,
    pub(crate) reception: Arc<Reception>,
    pub(crate) connections: Counts,
}

impl Admin {
    /// What shows rows asks for a token, if there are any; health and metrics do not.
    pub(crate) fn router(self, tokens: Option<Arc<Tokens>>) -> Router {
        let shown = self.clone();
        let own = Router::new().route("/writer", get(writer)).route("/pending", post(pending)).with_state(self);
        let own = match tokens {
            Some(tokens) => own.layer(from_fn_with_state(tokens, ask_for_token)),
            None => own,
        };
        admin::router(Arc::new(move || metrics::page(&shown))).merge(own)
    }
}

async fn ask_for_token(State(tokens): State<Arc<Tokens>>, request: Request, next: Next) -> Response {
    if tokens.holder(request.headers()).is_some() {
        return next.run(request).await;
    }
    let refused = json!({ "error": Refusal::Unauthenticated.to_string() });
    (StatusCode::UNAUTHORIZED, [(WWW_AUTHENTICATE, CHALLENGE)], Json(refused)).into_response()
}

async fn writer(State(admin): State<Admin>) -> Json<Value> {
    Json(json!({ "writer": admin.writer_id }))
}

async fn pending(State(admin): State<Admin>, question: Json<Value>) -> Response {
    let asked = match read_question(&question) {
        Ok(asked) => asked,
        Err(text) => return (StatusCode::BAD_REQUEST, Json(json!({ "error": text }))).into_response(),
    };
    let not_now = match admin.pending.after(&asked, now_us()) {
        Ok(answer) => {
            return match weir_lake::pending::encode(&answer) {
                Ok(body) => ([(CONTENT_TYPE, "application/octet-stream")], body).into_response(),
                Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
            };
        }
        Err(not_now) => not_now,
    };
    match not_now {
        NotNow::Gone { committed } => {
            let committed: BTreeMap<_, _> =
                committed.into_iter().map(|(table, position)| (table.name(), position.get())).collect();
            (StatusCode::GONE, Json(json!({ "committed": committed }))).into_response()
        }
        NotNow::Lags { loaded, newest } => {
            let lags = json!({ "lags": { "loaded": loaded.get(), "newest": newest.get() } });
            (StatusCode::SERVICE_UNAVAILABLE, [(RETRY_AFTER, "1")], Json(lags)).into_response()
        }
    }
}

fn read_question(question: &Value) -> Result<Vec<(Table, Position)>, String> {
    let tables = question["tables"].as_object().ok_or("expected {\"tables\": {\"requests\": 12}}")?;
    let mut asked = Vec::new();
    for (name, position) in tables {
        let table = Table::from_name(name).ok_or_else(|| format!("there is no table {name:?}"))?;
        let position = position.as_u64().ok_or_else(|| format!("the position of {name:?} is no whole number"))?;
        asked.push((table, Position::new(position)));
    }
    asked.sort_unstable();
    Ok(asked)
}
