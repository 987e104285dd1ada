//! What is tried out.

use super::autoscale::Setting;
use super::people::{Day, HOUR};
use crate::template::Deployment;
use serde_json::{Value, json};

/// The template, as it is shipped.
pub const TEMPLATE: &str = include_str!("../../../../packaging/azure/azuredeploy.json");

/// How a pool is made smaller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scaling {
    /// The agent on every VM, and the template's rules.
    Agent,
    /// Autoscale by CPU alone: below a quarter for ten minutes, one VM less. No agent.
    Cpu,
    /// A VM goes by itself after an hour in which no kernel, no terminal and no SSH connection was used, as compute
    /// instances of Azure Machine Learning do (Microsoft, `how-to-create-compute-instance.md`: idle shutdown). No agent.
    Kernels,
}

impl Scaling {
    /// All of them.
    pub const ALL: [Scaling; 3] = [Scaling::Agent, Scaling::Cpu, Scaling::Kernels];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Scaling::Agent => "dsvm-agent",
            Scaling::Cpu => "CPU alone",
            Scaling::Kernels => "kernels, terminals, SSH",
        }
    }

    /// The autoscale setting: that of the template, or the same with other rules for scaling in.
    ///
    /// # Errors
    /// The template cannot be worked out.
    pub fn setting(self, scenario: &Scenario) -> Result<Setting, String> {
        let parameters = json!({
            "maximumInstances": scenario.vms,
            "morningInstances": scenario.morning,
            "dayInstances": 1,
        });
        let mut resource = Deployment::new(TEMPLATE, parameters)?.only("Microsoft.Insights/autoscaleSettings")?;
        let profiles = resource.pointer_mut("/properties/profiles").and_then(Value::as_array_mut);
        for profile in profiles.into_iter().flatten() {
            let Some(rules) = profile.get_mut("rules").and_then(Value::as_array_mut) else { continue };
            match self {
                Scaling::Agent if scenario.without_third_rule => {
                    rules.retain(|r| r.pointer("/metricTrigger/statistic") != Some(&json!("Count")));
                }
                Scaling::Agent => {}
                Scaling::Kernels => rules.retain(|r| r.pointer("/scaleAction/direction") == Some(&json!("Increase"))),
                Scaling::Cpu => {
                    rules.retain(|r| r.pointer("/scaleAction/direction") == Some(&json!("Increase")));
                    rules.push(json!({
                        "metricTrigger": {
                            "metricName": "Percentage CPU", "metricNamespace": "microsoft.compute/virtualmachinescalesets",
                            "timeGrain": "PT1M", "statistic": "Average", "timeWindow": "PT10M", "timeAggregation": "Average",
                            "operator": "LessThan", "threshold": 25,
                        },
                        "scaleAction": {"direction": "Decrease", "type": "ChangeCount", "value": "1", "cooldown": "PT5M"},
                    }));
                    // Otherwise it would never take the last VM away: a rule for scaling out sees no load on none.
                    if profile.pointer("/capacity/minimum") == Some(&json!("0"))
                        && let Some(rules) = profile.get_mut("rules").and_then(Value::as_array_mut)
                    {
                        rules.retain(|r| r.pointer("/scaleAction/direction") == Some(&json!("Decrease")));
                    }
                }
            }
        }
        Setting::read(&resource)
    }
}

/// What is tried out.
#[derive(Debug, Clone)]
pub struct Scenario {
    /// Its name.
    pub name: &'static str,
    /// At most so many VMs.
    pub vms: u32,
    /// So many in the morning.
    pub morning: u32,
    /// So many people.
    pub people: u32,
    /// What kind of day it is.
    pub day: Day,
    /// Nothing reported arrives from then to then, in seconds after midnight.
    pub deaf: Option<(f64, f64)>,
    /// This VM, by its number, cannot be protected.
    pub bare: Option<u64>,
    /// This VM's GPU cannot be read, so that its use cannot be told.
    pub blind: Option<u64>,
    /// Nothing at all arrives from this VM: its agent runs, and has no identity.
    pub mute: Option<u64>,
    /// When fewer VMs are unprotected than shall go, none goes; otherwise those that are. The documents don't say which.
    pub all_or_none: bool,
    /// The rule that every VM must have reported is left out.
    pub without_third_rule: bool,
}

impl Scenario {
    /// A usual day of so many VMs, with two and a half people for each.
    pub fn usual(vms: u32) -> Self {
        Self {
            name: "a usual day",
            vms,
            morning: vms,
            people: vms * 5 / 2,
            day: Day::Usual,
            deaf: None,
            bare: None,
            blind: None,
            mute: None,
            all_or_none: false,
            without_third_rule: false,
        }
    }

    /// Whether something is wrong in it that only an agent has to do with.
    pub fn is_about_agents(&self) -> bool {
        self.deaf.is_some() || [self.bare, self.blind, self.mute].iter().any(Option::is_some)
    }

    /// All of them, with so many VMs.
    pub fn all(vms: u32) -> Vec<Self> {
        let usual = Self::usual(vms);
        let half = vms.div_ceil(2);
        vec![
            usual.clone(),
            Self { name: "a rush at 14:00", day: Day::Rush, morning: half, ..usual.clone() },
            Self { name: "all VMs in use until 22:00", day: Day::Full, ..usual.clone() },
            Self { name: "no reports from 10:00 to 16:00", deaf: Some((10.0 * HOUR, 16.0 * HOUR)), ..usual.clone() },
            Self { name: "one VM cannot be protected", bare: Some(u64::from(vms) - 1), ..usual.clone() },
            Self { name: "one VM's use cannot be told", blind: Some(u64::from(vms) - 1), ..usual.clone() },
            Self { name: "one VM says nothing at all", mute: Some(u64::from(vms) - 1), ..usual.clone() },
            Self { name: "somebody comes when there is none", day: Day::Empty, morning: 1, people: 1, ..usual },
        ]
    }
}
