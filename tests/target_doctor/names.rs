//! Names: what servers answer, and servers that do not.

use super::*;

pub const SCENARIOS: &[Scenario] = &[
    (
        "name-server-silent",
        "name_server_silent",
        name_server_silent,
    ),
    (
        "name-server-silent",
        "first_of_two_name_servers_silent",
        first_of_two_name_servers_silent,
    ),
    (
        "name-server-silent",
        "resolver_is_still_waiting",
        resolver_is_still_waiting,
    ),
    ("name-not-found", "name_not_found", name_not_found),
    (
        "name-not-found",
        "name_not_found_in_search_domains",
        name_not_found_in_search_domains,
    ),
    (
        "name-server-failed",
        "name_server_failed",
        name_server_failed,
    ),
    (
        "name-server-refused",
        "name_server_refused",
        name_server_refused,
    ),
    (
        "name-answer-from-other",
        "name_answer_from_other",
        name_answer_from_other,
    ),
    (
        "name-server-unreachable",
        "name_server_without_a_listener",
        name_server_without_a_listener,
    ),
    (
        "name-server-unreachable",
        "name_server_prohibited_by_a_router",
        name_server_prohibited_by_a_router,
    ),
    (
        "name-without-address",
        "name_without_address",
        name_without_address,
    ),
    (
        "name-servers-missing",
        "name_servers_missing",
        name_servers_missing,
    ),
    ("name-unresolved", "name_unresolved", name_unresolved),
    ("name-slow", "name_slow", name_slow),
];

fn name_server_silent() -> Outcome {
    let net = net();
    let _server = udp_socket(&net.t, T4, 53);
    let report = net.doctor_with(&Resolver::of_t(), &[NAME]);
    report.fault("name-server-silent");
    assert!(report.text.contains(T4), "{}", report.text);
    Ok(())
}

/// The second one answers after that, and all is well but slow.
fn first_of_two_name_servers_silent() -> Outcome {
    let net = net();
    net.t.address("e0", "10.3.0.54/24")?;
    let _silent = udp_socket(&net.t, "10.3.0.54", 53);
    let _server = names_of(&net.t, &[T4]);
    let resolver = Resolver::new(&format!(
        "nameserver 10.3.0.54\nnameserver {T4}\noptions timeout:2\n"
    ));
    let report = net.doctor_with(&resolver, &[NAME]);
    report.healthy_but("warning", "name-server-silent");
    let summary = report.findings[0]["summary"].to_string();
    assert!(summary.contains("10.3.0.54"), "{summary}");
    Ok(())
}

/// With the timeouts that a host has by default.
fn resolver_is_still_waiting() -> Outcome {
    let net = net();
    let _server = udp_socket(&net.t, T4, 53);
    let resolver = Resolver::new(&format!("nameserver {T4}\n"));
    net.doctor_with(&resolver, &[NAME])
        .fault("name-server-silent");
    Ok(())
}

/// A server that answers everything with this code, and no record.
fn answers(code: u8, id: &str) -> Diagnosis {
    let net = net();
    let _server = dns(&net.t, T4, move |_| Some((code, Vec::new())));
    let report = net.doctor_with(&Resolver::of_t(), &[&format!("{NAME}:443")]);
    report.fault(id);
    report.proved();
    report
}

fn name_not_found() -> Outcome {
    answers(3, "name-not-found");
    Ok(())
}

fn name_not_found_in_search_domains() -> Outcome {
    let net = net();
    let _server = names_of(&net.t, &[]);
    let resolver = Resolver::new(&format!("nameserver {T4}\nsearch one.test two.test\n"));
    let report = net.doctor_with(&resolver, &["db"]);
    report.fault("name-not-found");
    let summary = report.findings[0]["summary"].to_string();
    for name in ["db.one.test", "db.two.test", ", db)"] {
        assert!(summary.contains(name), "{summary}");
    }
    Ok(())
}

fn name_server_failed() -> Outcome {
    answers(2, "name-server-failed");
    Ok(())
}

fn name_server_refused() -> Outcome {
    answers(5, "name-server-refused");
    Ok(())
}

fn name_without_address() -> Outcome {
    answers(0, "name-without-address");
    Ok(())
}

fn name_answer_from_other() -> Outcome {
    let net = net();
    net.t.address("e0", "10.3.0.54/24")?;
    let asked = udp_socket(&net.t, T4, 53);
    let other = udp_socket(&net.t, "10.3.0.54", 53);
    let target: IpAddr = T4.parse()?;
    let _server = serve_names(asked, other, move |_| Some((0, vec![target])));
    let report = net.doctor_with(&Resolver::of_t(), &[NAME]);
    report.fault("name-answer-from-other");
    report.proved();
    let summary = report.findings[0]["summary"].to_string();
    assert!(summary.contains("10.3.0.54 answered"), "{summary}");
    Ok(())
}

fn name_server_without_a_listener() -> Outcome {
    let net = net();
    let report = net.doctor_with(&Resolver::of_t(), &[NAME]);
    report.fault("name-server-unreachable");
    assert!(
        report.text.contains(&format!("reported by {T4}")),
        "{}",
        report.text
    );
    Ok(())
}

fn name_server_prohibited_by_a_router() -> Outcome {
    let net = net();
    let _server = names_of(&net.t, &[T4]);
    firewall(
        &net.r2,
        "forward",
        "udp dport 53 reject with icmpx admin-prohibited",
    );
    let report = net.doctor_with(&Resolver::of_t(), &[NAME]);
    report.fault("name-server-unreachable");
    assert!(
        report.text.contains("reported by 10.2.0.2"),
        "{}",
        report.text
    );
    Ok(())
}

fn name_servers_missing() -> Outcome {
    let net = net();
    net.doctor_with(&Resolver::new("# none\n"), &[NAME])
        .fault("name-servers-missing");
    Ok(())
}

/// Only hosts(5) is looked at.
fn name_unresolved() -> Outcome {
    let net = net();
    let _server = names_of(&net.t, &[T4]);
    let resolver = Resolver::with_sources(&format!("nameserver {T4}\n"), "files");
    net.doctor_with(&resolver, &[NAME]).fault("name-unresolved");
    Ok(())
}

fn name_slow() -> Outcome {
    let net = net();
    let target: IpAddr = T4.parse()?;
    let _server = dns(&net.t, T4, move |question| {
        if question.kind == 1 {
            std::thread::sleep(Duration::from_millis(1300));
        }
        Some((0, vec![target]))
    });
    let resolver = Resolver::new(&format!("nameserver {T4}\n"));
    let report = net.doctor_with(&resolver, &[NAME]);
    report.healthy_but("warning", "name-slow");
    report.proved();
    Ok(())
}
