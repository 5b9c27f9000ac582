//! The client's part: its network namespace, and what its own report says.

use std::process::{Command, Output, Stdio};

use super::*;

/// Tests that require no finding.
pub const TESTS: &[(&str, support::Test)] = &[
    (
        "client_in_another_namespace_is_refused",
        client_in_another_namespace_is_refused,
    ),
    (
        "nothing_is_proved_without_proc",
        nothing_is_proved_without_proc,
    ),
    (
        "warnings_are_not_called_healthy",
        warnings_are_not_called_healthy,
    ),
];

fn netsonde(host: &Host, service: &Service, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_netsonde"));
    command.arg("--socket").arg(service.socket());
    command.args(arguments).stdin(Stdio::null());
    host.run(|| command.output()).unwrap()
}

fn words(output: &Output) -> String {
    format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

/// The control socket is in the file system, so a client in any namespace can open it.
fn client_in_another_namespace_is_refused() -> Outcome {
    let Pair { s, r } = pair();
    let service = Service::start(&r, &[]);
    let receiver = receive(&r, GROUP, "e0");
    let _sender = send(&s, GROUP, Sending::default());
    flows("to the receiver", &receiver, true);
    let at_once = channel();
    for refused in [
        &["mcast", "doctor", "--duration", "300ms", &at_once][..],
        &["--json", "mcast", "doctor", "--duration", "300ms", &at_once],
        &["doctor", "--duration", "300ms"],
    ] {
        let output = netsonde(&s, &service, refused);
        let words = words(&output);
        assert_eq!(output.status.code(), Some(2), "{refused:?}: {words}");
        assert!(
            words.contains("another network namespace"),
            "{refused:?}: {words}"
        );
        assert!(output.stdout.is_empty(), "{refused:?}: {words}");
    }
    // These are of use there as well, with what is not of the service's network left out or named.
    for noted in [
        &["talkers", "--window", "1s"][..],
        &["mcast", "groups"],
        &["sockets"],
        &["drops", "--duration", "100ms"],
    ] {
        let output = netsonde(&s, &service, noted);
        let words = words(&output);
        assert_ne!(output.status.code(), Some(2), "{noted:?}: {words}");
        assert!(
            words.contains("another network namespace"),
            "{noted:?}: {words}"
        );
    }
    // In the right one there is no word of it.
    for command in [
        &["mcast", "doctor", "--duration", "300ms", &at_once][..],
        &["talkers", "--window", "1s"],
        &["mcast", "groups"],
        &["sockets"],
        &["drops", "--duration", "100ms"],
    ] {
        let output = netsonde(&r, &service, command);
        let words = words(&output);
        assert!(
            !words.contains("another network namespace"),
            "{command:?}: {words}"
        );
    }
    Ok(())
}

/// A client that does not see its own namespace says so, and withdraws the certainty of its findings.
fn nothing_is_proved_without_proc() -> Outcome {
    let Pair { s, r } = pair();
    let service = Service::start(&r, &[]);
    let _sender = send(&s, GROUP, Sending::default());
    let report = doctor(&r, &service, &[&channel()]);
    report.proved();
    let script = "mount -t tmpfs none /proc && exec \"$0\" \"$@\"";
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-c", script]);
    command.arg(env!("CARGO_BIN_EXE_netsonde"));
    command.arg("--socket").arg(service.socket());
    command.args(["--json", "mcast", "doctor", "--duration", "300ms"]);
    command.arg(channel()).stdin(Stdio::null());
    let output = r.run(|| command.output())?;
    let words = words(&output);
    assert!(words.contains("/proc/thread-self/ns/net"), "{words}");
    assert!(words.contains("\"certainty\""), "{words}");
    assert!(!words.contains("\"proved\""), "{words}");
    Ok(())
}

fn warnings_are_not_called_healthy() -> Outcome {
    let Pair { s, r } = pair();
    let service = Service::start(&r, &[]);
    let receiver = receive(&r, "230.0.0.7", "e0");
    let sender = send(&s, "230.0.0.7", Sending::default());
    flows("with a warning", &receiver, true);
    let asked = ["mcast", "doctor", "--duration", "500ms", "230.0.0.7"];
    let output = netsonde(&r, &service, &asked);
    let text = words(&output);
    assert!(text.contains("230.0.0.7: 1 warning, no fault\n"), "{text}");
    assert_eq!(output.status.code(), Some(0), "{text}");
    let strict = [&asked[..], &["--strict"]].concat();
    assert_eq!(netsonde(&r, &service, &strict).status.code(), Some(1));
    drop((sender, receiver));
    let _receiver = receive(&r, GROUP, "e0");
    let _sender = send(&s, GROUP, Sending::default());
    let report = doctor(&r, &service, &[&channel(), "--strict"]);
    report.healthy();
    Ok(())
}
