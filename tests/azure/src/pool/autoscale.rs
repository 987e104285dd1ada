//! Azure Monitor's autoscale, by its documents.
//!
//! Sources: Microsoft's `autoscale-understanding-settings.md`, `autoscale-best-practices.md`, `autoscale-flapping.md`,
//! `autoscale-multiprofile.md` and `autoscale-troubleshoot.md`, and `autoscale_API.json` of azure-rest-api-specs:
//!
//! * it looks every minute at whole minutes, and at what has arrived of them by then;
//! * it scales out when any rule says so, and in when all do; a rule without data says nothing;
//! * what last fired keeps it from doing anything for its cooldown;
//! * before it scales in, it works out what the rules for scaling out would say then, and takes fewer or none away;
//! * without data it scales out to the default, and never in.

use serde_json::Value;
use std::collections::BTreeMap;

/// Seconds of a week.
const WEEK: f64 = 7.0 * 86_400.0;
const DAYS: [&str; 7] = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"];

/// What was reported of one minute, added up.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Minute {
    /// Sum of the values.
    pub sum: f64,
    /// How many there were.
    pub count: f64,
    /// The least.
    pub least: f64,
    /// The most.
    pub most: f64,
}

/// What has arrived of metrics.
#[derive(Debug, Clone, Default)]
pub struct Metrics {
    minutes: BTreeMap<String, BTreeMap<u64, Minute>>,
}

impl Metrics {
    /// A value of a minute, counted from the beginning of the week, arrives.
    pub fn add(&mut self, metric: &str, minute: u64, value: f64) {
        if !self.minutes.contains_key(metric) {
            self.minutes.insert(metric.to_owned(), BTreeMap::new());
        }
        let Some(minutes) = self.minutes.get_mut(metric) else { return };
        let known = minutes.entry(minute).or_insert(Minute { sum: 0.0, count: 0.0, least: value, most: value });
        known.sum += value;
        known.count += 1.0;
        known.least = known.least.min(value);
        known.most = known.most.max(value);
        // No window is longer.
        while minutes.len() > 60 {
            minutes.pop_first();
        }
    }

    /// What is known of one metric in the `window` whole minutes before `now`.
    fn window(&self, metric: &str, window: u64, now: u64) -> Vec<Minute> {
        let Some(minutes) = self.minutes.get(metric) else { return Vec::new() };
        minutes.range(now.saturating_sub(window)..now).map(|(_, m)| *m).collect()
    }
}

/// A rule.
#[derive(Debug, Clone, PartialEq)]
pub struct Rule {
    /// The metric.
    pub metric: String,
    /// Its namespace.
    pub namespace: String,
    /// How the values of a minute become one.
    statistic: String,
    /// How the minutes of the window become one value.
    aggregation: String,
    /// The window, in minutes.
    window: u64,
    operator: String,
    threshold: f64,
    /// The value is divided by how many VMs there are.
    per_instance: bool,
    /// Out, or in.
    pub out: bool,
    /// By so many VMs.
    amount: u32,
    /// In seconds.
    cooldown: f64,
}

impl Rule {
    fn read(rule: &Value) -> Result<Self, String> {
        let text = |at: &str| {
            let found = rule.pointer(at).and_then(Value::as_str);
            found.map(str::to_owned).ok_or_else(|| format!("a rule has no {at}"))
        };
        let minutes = |at: &str| {
            let period = text(at)?;
            let digits = period.strip_prefix("PT").and_then(|p| p.strip_suffix('M'));
            digits.and_then(|d| d.parse::<u64>().ok()).ok_or_else(|| format!("{at}: {period}"))
        };
        if minutes("/metricTrigger/timeGrain")? != 1 || text("/scaleAction/type")? != "ChangeCount" {
            return Err(format!("a rule that is not known here: {rule}"));
        }
        let one_of = |at: &str, known: &[&str]| {
            text(at).and_then(|t| if known.contains(&t.as_str()) { Ok(t) } else { Err(format!("{at}: {t}")) })
        };
        let window = minutes("/metricTrigger/timeWindow")?;
        let cooldown = minutes("/scaleAction/cooldown")?;
        // What Azure refuses (autoscale_API.json).
        if !(5..=720).contains(&window) || cooldown < 1 {
            return Err(format!("a window of {window} min, a cooldown of {cooldown} min"));
        }
        Ok(Self {
            metric: text("/metricTrigger/metricName")?,
            namespace: text("/metricTrigger/metricNamespace")?,
            statistic: one_of("/metricTrigger/statistic", &["Average", "Min", "Max", "Sum", "Count"])?,
            aggregation: one_of(
                "/metricTrigger/timeAggregation",
                &["Average", "Minimum", "Maximum", "Total", "Count", "Last"],
            )?,
            window,
            operator: one_of(
                "/metricTrigger/operator",
                &["Equals", "NotEquals", "GreaterThan", "GreaterThanOrEqual", "LessThan", "LessThanOrEqual"],
            )?,
            threshold: rule
                .pointer("/metricTrigger/threshold")
                .and_then(Value::as_f64)
                .ok_or("a rule has no threshold")?,
            per_instance: rule.pointer("/metricTrigger/dividePerInstance") == Some(&Value::Bool(true)),
            out: one_of("/scaleAction/direction", &["Increase", "Decrease"])? == "Increase",
            amount: text("/scaleAction/value")?.parse().map_err(|_| "a rule's value is no number")?,
            cooldown: cooldown as f64 * 60.0,
        })
    }

    /// What it sees; nothing when there is no data.
    fn value(&self, metrics: &Metrics, minute: u64, instances: u32) -> Option<f64> {
        let of_minute = |m: &Minute| match self.statistic.as_str() {
            "Sum" => m.sum,
            "Count" => m.count,
            "Min" => m.least,
            "Max" => m.most,
            _ => m.sum / m.count,
        };
        let values: Vec<f64> = metrics.window(&self.metric, self.window, minute).iter().map(of_minute).collect();
        let last = *values.last()?;
        let (total, count) = (values.iter().sum::<f64>(), values.len() as f64);
        let value = match self.aggregation.as_str() {
            "Minimum" => values.into_iter().fold(last, f64::min),
            "Maximum" => values.into_iter().fold(last, f64::max),
            "Total" => total,
            "Count" => count,
            "Last" => last,
            _ => total / count,
        };
        Some(if self.per_instance { value / f64::from(instances) } else { value })
    }

    fn holds(&self, value: f64) -> bool {
        match self.operator.as_str() {
            "Equals" => (value - self.threshold).abs() < f64::EPSILON,
            "NotEquals" => (value - self.threshold).abs() >= f64::EPSILON,
            "GreaterThan" => value > self.threshold,
            "GreaterThanOrEqual" => value >= self.threshold,
            "LessThan" => value < self.threshold,
            _ => value <= self.threshold,
        }
    }
}

/// What holds from a time of the week on.
#[derive(Debug, Clone, PartialEq)]
pub struct Profile {
    /// Its name.
    pub name: String,
    /// The fewest VMs.
    pub minimum: u32,
    /// The most.
    pub maximum: u32,
    /// So many there are at least when there is no data.
    pub default: u32,
    /// Its rules.
    pub rules: Vec<Rule>,
    /// When it begins, in seconds of the week; never where it is the only one.
    starts: Vec<f64>,
}

/// An autoscale setting.
#[derive(Debug, Clone, PartialEq)]
pub struct Setting {
    /// Its profiles.
    pub profiles: Vec<Profile>,
}

impl Setting {
    /// Reads a `Microsoft.Insights/autoscaleSettings` that was worked out.
    ///
    /// # Errors
    /// What is missing or not known here.
    pub fn read(resource: &Value) -> Result<Self, String> {
        let profiles = resource.pointer("/properties/profiles").and_then(Value::as_array).ok_or("no profiles")?;
        let number = |profile: &Value, name: &str| {
            let text = profile.pointer(&format!("/capacity/{name}")).and_then(Value::as_str);
            text.and_then(|t| t.parse().ok()).ok_or_else(|| format!("a profile has no {name}"))
        };
        let list =
            |profile: &Value, at: &str| profile.pointer(at).and_then(Value::as_array).cloned().unwrap_or_default();
        let read = |profile: &Value| {
            let of_day = |day: &Value| DAYS.iter().position(|d| day == d).map(|d| d as f64 * 86_400.0);
            let first = |at: &str| list(profile, at).first().and_then(Value::as_f64).unwrap_or_default();
            let time = first("/recurrence/schedule/hours") * 3600.0 + first("/recurrence/schedule/minutes") * 60.0;
            let days = list(profile, "/recurrence/schedule/days");
            Ok(Profile {
                name: profile["name"].as_str().unwrap_or_default().to_owned(),
                minimum: number(profile, "minimum")?,
                maximum: number(profile, "maximum")?,
                default: number(profile, "default")?,
                rules: list(profile, "/rules").iter().map(Rule::read).collect::<Result<_, String>>()?,
                starts: days.iter().filter_map(of_day).map(|day| day + time).collect(),
            })
        };
        Ok(Self { profiles: profiles.iter().map(read).collect::<Result<_, String>>()? })
    }

    /// The profile that holds at a time of the week, in seconds: the one that began last.
    pub fn profile(&self, at: f64) -> Option<&Profile> {
        let since = |p: &Profile| p.starts.iter().map(|s| (at - s).rem_euclid(WEEK)).reduce(f64::min);
        let began = self.profiles.iter().filter_map(|p| Some((since(p)?, p)));
        let last = began.min_by(|a, b| a.0.total_cmp(&b.0)).map(|(_, p)| p);
        last.or(self.profiles.first())
    }
}

/// The engine.
#[derive(Debug, Clone)]
pub struct Engine {
    /// Its setting.
    pub setting: Setting,
    /// Nothing is done before, in seconds of the week.
    until: f64,
}

impl Engine {
    /// One for a setting.
    pub fn new(setting: Setting) -> Self {
        Self { setting, until: f64::MIN }
    }

    /// How many VMs there should be; `at` is in seconds of the week.
    pub fn decide(&mut self, at: f64, instances: u32, metrics: &Metrics) -> u32 {
        let Some(profile) = self.setting.profile(at) else { return instances };
        let bounded = instances.clamp(profile.minimum, profile.maximum.max(profile.minimum));
        if bounded != instances {
            return bounded;
        }
        let minute = (at / 60.0) as u64;
        let value = |rule: &Rule| rule.value(metrics, minute, instances);
        if instances < profile.default && profile.rules.iter().any(|r| value(r).is_none()) {
            return profile.default;
        }
        if at < self.until {
            return instances;
        }
        let fires = |rule: &&Rule| value(rule).is_some_and(|v| rule.holds(v));
        let (out, into): (Vec<&Rule>, Vec<&Rule>) = profile.rules.iter().partition(|r| r.out);
        if let Some(rule) = out.iter().copied().filter(fires).max_by_key(|r| r.amount) {
            let wanted = (instances + rule.amount).min(profile.maximum);
            if wanted > instances {
                self.until = at + rule.cooldown;
            }
            return wanted;
        }
        if into.is_empty() || !into.iter().all(fires) {
            return instances;
        }
        let Some(rule) = into.iter().min_by_key(|r| r.amount) else { return instances };
        let flaps = |wanted: u32| {
            let then = |r: &Rule| value(r).map(|v| v * f64::from(instances) / f64::from(wanted));
            out.iter().any(|r| then(r).is_none_or(|v| r.holds(v)))
        };
        let target = instances.saturating_sub(rule.amount).max(profile.minimum);
        let wanted = (target..instances).find(|wanted| !flaps(*wanted)).unwrap_or(instances);
        if wanted < instances {
            self.until = at + rule.cooldown;
        }
        wanted
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn rule(metric: &str, statistic: &str, out: bool, operator: &str, threshold: f64) -> Value {
        let direction = if out { "Increase" } else { "Decrease" };
        json!({
            "metricTrigger": {"metricName": metric, "metricNamespace": "n", "timeGrain": "PT1M", "statistic": statistic,
                "timeWindow": "PT5M", "timeAggregation": "Average", "operator": operator, "threshold": threshold},
            "scaleAction": {"direction": direction, "type": "ChangeCount", "value": "1", "cooldown": "PT3M"},
        })
    }

    fn engine(rules: &[Value], default: u32) -> Engine {
        let capacity = json!({"minimum": "0", "maximum": "9", "default": default.to_string()});
        let resource = json!({"properties": {"profiles": [{"name": "p", "capacity": capacity, "rules": rules}]}});
        Engine::new(Setting::read(&resource).unwrap())
    }

    fn metrics(metric: &str, value: f64) -> Metrics {
        let mut metrics = Metrics::default();
        (0..100).for_each(|minute| metrics.add(metric, minute, value));
        metrics
    }

    #[test]
    fn any_rule_scales_out_and_all_are_needed_to_scale_in() {
        let rules = [
            rule("cpu", "Average", true, "GreaterThan", 75.0),
            rule("cpu", "Average", false, "LessThan", 30.0),
            rule("idle", "Average", false, "GreaterThan", 0.0),
        ];
        let at = 90.0 * 60.0;
        let mut both = metrics("cpu", 10.0);
        assert_eq!(engine(&rules, 0).decide(at, 5, &both), 5, "one rule has no data");
        both.add("idle", 89, 1.0);
        let mut engine = engine(&rules, 0);
        assert_eq!(engine.decide(at, 5, &both), 4);
        assert_eq!((engine.decide(at + 60.0, 4, &both), engine.decide(at + 180.0, 4, &both)), (4, 3), "cooldown");
        assert_eq!(engine.decide(at + 600.0, 5, &metrics("cpu", 90.0)), 6);
    }

    #[test]
    fn what_would_scale_out_again_is_not_scaled_in() {
        let rules =
            [rule("cpu", "Average", true, "GreaterThan", 50.0), rule("cpu", "Average", false, "LessThan", 30.0)];
        assert_eq!(engine(&rules, 0).decide(90.0 * 60.0, 2, &metrics("cpu", 28.0)), 2, "the document's own example");
        assert_eq!(engine(&rules, 0).decide(90.0 * 60.0, 2, &metrics("cpu", 20.0)), 1);
    }

    #[test]
    fn without_data_it_scales_out_to_the_default_and_never_in() {
        let rules = [rule("cpu", "Average", false, "LessThan", 30.0)];
        for (instances, wanted) in [(1, 3), (5, 5)] {
            assert_eq!(engine(&rules, 3).decide(90.0 * 60.0, instances, &Metrics::default()), wanted);
        }
    }

    #[test]
    fn the_profile_that_began_last_holds() {
        let profile = |name: &str, days: Value, hour: u32| {
            json!({"name": name, "capacity": {"minimum": "0", "maximum": "9", "default": "0"}, "rules": [],
                "recurrence": {"schedule": {"days": days, "hours": [hour], "minutes": [30]}}})
        };
        let day = profile("day", json!(["Monday", "Friday"]), 7);
        let night = profile("night", json!(["Monday", "Friday"]), 19);
        let setting = Setting::read(&json!({"properties": {"profiles": [day, night]}})).unwrap();
        let at = |day: f64, hour: f64| setting.profile(day * 86_400.0 + hour * 3600.0).unwrap().name.clone();
        assert_eq!(
            [at(0.0, 0.0), at(0.0, 8.0), at(1.0, 12.0), at(4.0, 8.0), at(6.0, 8.0)],
            ["night", "day", "night", "day", "night"]
        );
    }
}
