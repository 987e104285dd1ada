//! A deployment template, worked out on this machine: parameters, variables, conditions and functions become values, as
//! Resource Manager would make them before it deploys anything. Nothing that it does not know becomes a value by
//! guessing: an unknown function, parameter or property is an error.
//!
//! Source: Microsoft's `syntax.md`, `template-expressions.md` and `template-functions-*.md` of Resource Manager.

pub mod expression;
pub mod functions;

use expression::{Expression, parse, plain};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// A template, and with what it is deployed.
#[derive(Debug, Clone)]
pub struct Deployment {
    /// The template.
    pub template: Value,
    /// The parameters that are given; the others are the template's own.
    pub parameters: BTreeMap<String, Value>,
    /// The subscription's id.
    pub subscription: String,
    /// The resource group.
    pub group: String,
    /// The group's region.
    pub location: String,
}

impl Deployment {
    /// The template `text` with these parameters.
    ///
    /// # Errors
    /// It is no JSON.
    pub fn new(text: &str, parameters: Value) -> Result<Self, String> {
        let template = serde_json::from_str(text).map_err(|e| e.to_string())?;
        let parameters = parameters.as_object().cloned().unwrap_or_default().into_iter().collect();
        Ok(Self {
            template,
            parameters,
            subscription: "11111111-2222-3333-4444-555555555555".to_owned(),
            group: "dsvm-rg".to_owned(),
            location: "westeurope".to_owned(),
        })
    }

    /// A parameter's value.
    ///
    /// # Errors
    /// There is no such parameter, it is not given and has no value of its own, or is none of those that are allowed.
    pub fn parameter(&self, name: &str) -> Result<Value, String> {
        let declared = find(&self.template, &["parameters", name]).ok_or_else(|| format!("no parameter {name}"))?;
        let value = match (self.parameters.get(name), declared.get("defaultValue")) {
            (Some(given), _) => given.clone(),
            (None, Some(own)) => self.value(own)?,
            (None, None) => return Err(format!("parameter {name} is not given")),
        };
        let kind = match declared.get("type").and_then(Value::as_str).unwrap_or_default() {
            "string" | "securestring" => value.is_string(),
            "int" => value.is_i64(),
            "bool" => value.is_boolean(),
            "array" => value.is_array(),
            "object" => value.is_object(),
            other => return Err(format!("parameter {name} is of no kind: {other}")),
        };
        let allowed = declared.get("allowedValues").and_then(Value::as_array);
        let bound = |name: &str| declared.get(name).and_then(Value::as_i64);
        let fits = value.as_i64().is_none_or(|v| {
            bound("minValue").is_none_or(|least| v >= least) && bound("maxValue").is_none_or(|most| v <= most)
        });
        if !kind || !fits || allowed.is_some_and(|a| !a.contains(&value)) {
            return Err(format!("parameter {name} may not be {value}"));
        }
        Ok(value)
    }

    /// A variable's value.
    ///
    /// # Errors
    /// There is no such variable, or it cannot be worked out.
    pub fn variable(&self, name: &str) -> Result<Value, String> {
        self.value(find(&self.template, &["variables", name]).ok_or_else(|| format!("no variable {name}"))?)
    }

    /// The resources that are deployed: those whose condition holds, worked out.
    ///
    /// # Errors
    /// What cannot be worked out, and in which resource.
    pub fn resources(&self) -> Result<Vec<Value>, String> {
        self.deployed(|_| true)
    }

    fn deployed(&self, wanted: impl Fn(&Value) -> bool) -> Result<Vec<Value>, String> {
        let mut out = Vec::new();
        let all = self.template.get("resources").and_then(Value::as_array);
        for resource in all.into_iter().flatten().filter(|r| wanted(r)) {
            let called = |e| format!("{}: {e}", resource.get("name").unwrap_or(&Value::Null));
            let there = resource.get("condition").map(|c| self.value(c)).transpose().map_err(called)?;
            if there != Some(json!(false)) {
                out.push(self.value(resource).map_err(called)?);
            }
        }
        Ok(out)
    }

    /// What is given out, worked out.
    ///
    /// # Errors
    /// What cannot be worked out.
    pub fn outputs(&self) -> Result<Value, String> {
        self.value(self.template.get("outputs").unwrap_or(&Value::Null))
    }

    /// The id of a resource of the group, from its type and its name with the names above it.
    ///
    /// # Errors
    /// It has not as many names as kinds.
    pub fn id(&self, resource: &Value) -> Result<String, String> {
        let text = |name: &str| resource.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
        let names = text("name").split('/').map(|n| format!("'{n}'")).collect::<Vec<_>>().join(", ");
        let scope = text("scope");
        let call = match scope.is_empty() {
            true => format!("[resourceId('{}', {names})]", text("type")),
            false => format!("[extensionResourceId('{scope}', '{}', {names})]", text("type")),
        };
        self.value(&json!(call))?.as_str().map(str::to_owned).ok_or_else(|| call.clone())
    }

    /// The only resource of a kind.
    ///
    /// # Errors
    /// There is none or there are several, or they cannot be worked out.
    pub fn only(&self, kind: &str) -> Result<Value, String> {
        let mut all = self.deployed(|r| r["type"] == kind)?;
        match (all.pop(), all.pop()) {
            (Some(one), None) => Ok(one),
            _ => Err(format!("there is not one {kind}")),
        }
    }

    /// A piece of the template, worked out.
    ///
    /// # Errors
    /// Why it cannot be.
    pub fn value(&self, value: &Value) -> Result<Value, String> {
        match value {
            Value::String(text) => match parse(text).map_err(|e| format!("{text}: {e}"))? {
                Some(expression) => self.work_out(&expression).map_err(|e| format!("{text}: {e}")),
                None => Ok(json!(plain(text))),
            },
            Value::Array(items) => items.iter().map(|i| self.value(i)).collect(),
            Value::Object(members) => {
                // Names may be expressions, too.
                let member = |(name, value): (&String, &Value)| {
                    let name = self.value(&json!(name))?.as_str().map(str::to_owned).ok_or("a name is no text")?;
                    Ok((name, self.value(value)?))
                };
                members.iter().map(member).collect::<Result<Map<_, _>, String>>().map(Value::Object)
            }
            other => Ok(other.clone()),
        }
    }

    fn work_out(&self, expression: &Expression) -> Result<Value, String> {
        match expression {
            Expression::Text(text) => Ok(json!(text)),
            Expression::Number(number) => Ok(json!(number)),
            Expression::Member(of, name) => {
                let of = self.work_out(of)?;
                find(&of, &[name]).cloned().ok_or_else(|| format!("there is no {name}"))
            }
            Expression::Item(of, index) => {
                let (of, index) = (self.work_out(of)?, self.work_out(index)?);
                let item = match &index {
                    Value::String(name) => find(&of, &[name]),
                    number => number.as_u64().and_then(|n| usize::try_from(n).ok()).and_then(|n| of.get(n)),
                };
                item.cloned().ok_or_else(|| format!("there is no [{index}]"))
            }
            // What is not chosen is not worked out.
            Expression::Call(name, arguments) if name == "if" => match arguments.as_slice() {
                [condition, then, otherwise] => match self.work_out(condition)? {
                    Value::Bool(true) => self.work_out(then),
                    Value::Bool(false) => self.work_out(otherwise),
                    other => Err(format!("if: {other} is no condition")),
                },
                _ => Err("if takes three arguments".to_owned()),
            },
            Expression::Call(name, arguments) => {
                let values = arguments.iter().map(|a| self.work_out(a)).collect::<Result<Vec<_>, _>>()?;
                functions::call(self, name, &values)
            }
        }
    }
}

/// What is below `value` by these names; upper and lower case are the same, as in templates.
fn find<'v>(value: &'v Value, names: &[&str]) -> Option<&'v Value> {
    names.iter().try_fold(value, |value, name| {
        let members = value.as_object()?;
        members.get(*name).or_else(|| members.iter().find(|(k, _)| k.eq_ignore_ascii_case(name)).map(|(_, v)| v))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn deployment() -> Deployment {
        let template = json!({
            "parameters": {
                "name": {"type": "string", "defaultValue": "pool"},
                "kind": {"type": "string", "allowedValues": ["a", "b"]},
                "count": {"type": "int", "defaultValue": 3, "minValue": 1},
            },
            "variables": {"twice": "[concat(parameters('name'), '-', parameters('NAME'))]", "list": [1, 2]},
            "resources": [
                {"type": "t/a", "name": "one", "condition": "[equals(parameters('kind'), 'a')]"},
                {"type": "t/b", "name": "[variables('twice')]", "id": "[resourceId('t/b', 'x')]"},
            ],
        });
        Deployment::new(&template.to_string(), json!({"kind": "b"})).unwrap()
    }

    #[test]
    fn values_are_worked_out_and_conditions_kept() {
        let deployment = deployment();
        let resources = deployment.resources().unwrap();
        let group = "/subscriptions/11111111-2222-3333-4444-555555555555/resourceGroups/dsvm-rg";
        assert_eq!(resources, [json!({"type": "t/b", "name": "pool-pool", "id": format!("{group}/providers/t/b/x")})]);
        let value = |text: &str| deployment.value(&json!(text));
        assert_eq!(value("[variables('list')[1]]"), Ok(json!(2)));
        assert_eq!(value("[format('{0}/{1}', 'a', 7)]"), Ok(json!("a/7")));
        assert_eq!(value("[base64(replace('a@X@', '@X@', 'b'))]"), Ok(json!("YWI=")));
        assert_eq!(value("[concat(variables('list'), createArray(3))]"), Ok(json!([1, 2, 3])));
        assert_eq!(value("[if(equals(1, 1), 'x', parameters('none'))]"), Ok(json!("x")), "the other is not looked at");
    }

    #[test]
    fn nothing_unknown_becomes_a_value() {
        let mut deployment = deployment();
        for wrong in ["[f()]", "[parameters('x')]", "[variables('x')]", "[variables('list')[2]]", "[resourceId('t/b')]"]
        {
            assert!(deployment.value(&json!(wrong)).is_err(), "{wrong}");
        }
        for (name, value) in [("kind", json!("c")), ("kind", json!(1)), ("count", json!(0)), ("count", json!("3"))] {
            deployment.parameters.insert(name.to_owned(), value.clone());
            assert!(deployment.parameter(name).is_err(), "{name} {value}");
        }
    }
}
