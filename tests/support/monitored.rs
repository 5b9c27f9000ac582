//! `netsonde-historian` at the socket where the client looks for it: beside the control socket.
#![allow(dead_code)]

use std::path::Path;
use std::process::{Command, Stdio};

use netsonde::lab::{Host, Running, wait_until};
use netsonde::varlink::client::{Connection, HISTORIAN};
use serde_json::{Value, json};

/// Starts it on a host, beside the control socket of a service.
pub fn historian(host: &Host, control: &Path) -> Running {
    historian_with(host, control, &[])
}

/// The same with more arguments.
pub fn historian_with(host: &Host, control: &Path, arguments: &[&str]) -> Running {
    let folder = control.parent().unwrap();
    let log = std::fs::File::create(folder.join("historian.log")).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_netsonde-historian"));
    command
        .arg("--socket")
        .arg(control)
        .arg("--listen")
        .arg(folder.join("history.sock"))
        .arg("--state")
        .arg(folder.join("history"))
        .arg("--monitors")
        .arg(folder.join("monitors.toml"))
        .args(arguments)
        .stdin(Stdio::null())
        .stderr(log);
    let running = host.spawn(&mut command).unwrap();
    let answers = || call(control, "Status", &json!({})).is_ok();
    let log = || std::fs::read_to_string(folder.join("historian.log")).unwrap_or_default();
    assert!(wait_until(super::support::PATIENCE, answers), "{}", log());
    running
}

/// Calls a method of the historian beside a control socket.
pub fn call(control: &Path, method: &str, parameters: &Value) -> Result<Value, String> {
    let opened = Connection::open_to(HISTORIAN, &control.with_file_name("history.sock"));
    let mut connection = opened.map_err(|error| error.to_string())?;
    let answer = connection.call(&format!("io.netsonde.History.{method}"), parameters);
    answer.map_err(|error| error.to_string())
}

/// Waits until there is an outage of a target, and an event about it on disk.
pub fn until_outage(control: &Path, target: &str) {
    let is_listed = |method: &str, parameters: &Value, list: &str| {
        call(control, method, parameters)
            .is_ok_and(|reply| reply[list].as_array().is_some_and(|all| !all.is_empty()))
    };
    let kinds = json!({ "kinds": ["outage-began", "outage_began"] });
    let is_there = || {
        is_listed("Outages", &json!({ "target": target }), "outages")
            && is_listed("Events", &kinds, "events")
    };
    let patience = super::support::PATIENCE;
    assert!(wait_until(patience, is_there), "no outage of {target}");
}
