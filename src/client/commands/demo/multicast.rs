//! SHELL. Scenes about multicast: memberships, and groups that do not arrive.

use std::net::{Ipv4Addr, UdpSocket};
use std::process::Command;
use std::time::Duration;

use super::{CLIENT, Demo, GROUP};
use crate::client::failure::Failure;
use crate::lab::{self, Host, messages, traffic, veth};

impl Demo {
    pub(super) fn group(&self) -> Result<bool, Failure> {
        self.print(&format!(
            "  A program joins {GROUP}, and the host reports it on its link."
        ))?;
        let member = self.client.run(|| traffic::join(GROUP, CLIENT))?;
        let group = GROUP.to_string();
        let command = ["watch", "--last", "1m", "--group", &group];
        let there = self.until(&command, &["IGMPv3 report", "(join)"]);
        let text = self.show(&command)?;
        let groups = self.show(&["mcast", "groups", "-I", "e0"])?;
        self.print(
            "  Snooping switches need a querier, which asks for memberships regularly. \
            There is none here.",
        )?;
        let queriers = self.show(&["mcast", "queriers"])?;
        drop(member);
        Ok(there
            && Demo::has(&text, &["239.1.1.1", "join"])
            && Demo::has(&groups, &["e0", "239.1.1.1", "1"])
            && Demo::has(&groups, &["224.0.0.2", "netsonde", "all routers"])
            && Demo::has(&queriers, &["e0: no IGMP querier seen"]))
    }

    /// Opens a receiver of the group on the interface with this address.
    fn receiver(&self, of: Ipv4Addr) -> Result<UdpSocket, Failure> {
        Ok(self.client.run(|| -> std::io::Result<UdpSocket> {
            let socket = UdpSocket::bind((GROUP, messages::PORT))?;
            socket.join_multicast_v4(&GROUP, &of)?;
            Ok(socket)
        })?)
    }

    /// Diagnoses the group while a sender is active.
    fn doctor(&self, sender: &Host, interface: &str, source: &str) -> Result<String, Failure> {
        let source = source.to_owned();
        std::thread::scope(|scope| {
            let sending = scope.spawn(|| {
                sender.run(|| {
                    traffic::frames(interface, 250, Some(100), |number, frame| {
                        *frame = messages::stream_frame(
                            messages::mac_of("239.1.1.1"),
                            &source,
                            "239.1.1.1",
                            number,
                            true,
                        );
                    })
                })
            });
            let output = self.show(&["mcast", "doctor", "239.1.1.1:5000", "--duration", "1s"]);
            let sent = sending.join();
            sent.map_err(|_| Failure::Other("the sender panicked".into()))??;
            output
        })
    }

    pub(super) fn wrong_interface(&self) -> Result<bool, Failure> {
        self.print(
            "  The router sends the group on the link of e0, but a program has joined it on \
            e1.",
        )?;
        let wrong = self.receiver(Ipv4Addr::new(10, 1, 0, 1))?;
        let fault = self.doctor(&self.router, "p1", "10.0.0.254")?;
        drop(wrong);
        self.print("  Now the program joins on e0:")?;
        let _right = self.receiver(CLIENT)?;
        let healthy = self.doctor(&self.router, "p1", "10.0.0.254")?;
        Ok(
            Demo::has(&fault, &["cause: joined-on-other-interface", "proved"])
                && Demo::has(&healthy, &["239.1.1.1:5000: healthy"]),
        )
    }

    pub(super) fn firewall(&self) -> Result<bool, Failure> {
        let rules = "table inet t {\nchain c {\ntype filter hook input priority 0\nudp dport 5000 drop\n}\n}";
        let nft = |words: &str| self.client.run(|| Command::new("nft").arg(words).output());
        match nft(rules) {
            Ok(output) if output.status.success() => {}
            _ => {
                self.print("  nft is not installed here, so the firewall scene is skipped.")?;
                return Ok(true);
            }
        }
        self.print(
            "  The program has joined on the right interface, but a firewall rule drops its \
            port.",
        )?;
        let _receiver = self.receiver(CLIENT)?;
        let output = self.doctor(&self.router, "p1", "10.0.0.254")?;
        nft("flush ruleset")?;
        Ok(Demo::has(
            &output,
            &["cause: firewall-drops-data", "proved"],
        ))
    }

    pub(super) fn querier_gone(&self) -> Result<bool, Failure> {
        self.print(
            "  A third link has a snooping switch whose memberships last 4 s here instead of \
                260. A querier queries\n  once, with an interval of 1 s, and then stays silent; \
                a source keeps sending.",
        )?;
        let (switch, source) = (Host::new("switch")?, Host::new("source")?);
        let options = lab::BridgeOptions {
            snooping: true,
            membership: Some(400),
            ..lab::BridgeOptions::default()
        };
        lab::bridge(&switch, "br0", options)?;
        for (host, interface, port) in [(&self.client, "e2", "s1"), (&source, "e0", "s2")] {
            veth(host, interface, &switch, port)?;
            lab::bridge_port(&switch, "br0", port)?;
        }
        self.client.address("e2", "10.2.0.1/24")?;
        source.address("e0", "10.2.0.9/24")?;
        let receiver = self.receiver(Ipv4Addr::new(10, 2, 0, 1))?;
        receiver.set_read_timeout(Some(Duration::from_millis(700)))?;
        // The query is sent once, so the ports of the switch must forward by then.
        let client = Ipv4Addr::new(10, 2, 0, 1).into();
        if source
            .run(|| traffic::ping(client, Duration::from_secs(10)))?
            .is_none()
        {
            self.print("  The switch does not forward.")?;
            return Ok(false);
        }
        let query = messages::query("10.2.0.9", None, messages::Q3, 1);
        let asked =
            source.run(|| traffic::frames("e0", 1, None, |_, frame| frame.clone_from(&query)));
        asked?;
        let received = std::thread::scope(|scope| {
            let sending = scope.spawn(|| {
                source.run(|| {
                    traffic::frames("e0", 700, Some(100), |number, frame| {
                        let group = messages::mac_of("239.1.1.1");
                        *frame =
                            messages::stream_frame(group, "10.2.0.9", "239.1.1.1", number, true);
                    })
                })
            });
            let mut room = [0; 2048];
            let mut received = 0;
            while receiver.recv(&mut room).is_ok() {
                received += 1;
            }
            let sent = sending.join();
            sent.map_err(|_| Failure::Other("the sender panicked".into()))??;
            Ok::<u32, Failure>(received)
        })?;
        self.print(&format!("  {received} of 700 packets came, then no more."))?;
        let output = self.doctor(&source, "e0", "10.2.0.9")?;
        self.show(&["explain", "querier-lost"])?;
        self.client.delete("e2")?;
        Ok((1..650).contains(&received) && Demo::has(&output, &["cause: querier-lost"]))
    }
}
