//! What the conditions of policies can look into: the attributes, tags and ancestors of which entities they can ask for.
//!
//! A literal that is only compared, or only asked whether something is in it, is not looked into. Whatever is not
//! understood counts as looked into. INVARIANT: an entity that is not reached from here, from the principal or from the
//! context is not read by any condition.

use cedar_policy::{EntityId, EntityTypeName, EntityUid, Policy, PolicyId, pst};
use std::collections::HashSet;
use std::str::FromStr as _;

#[derive(Debug, Default)]
pub(crate) struct Reach {
    pub(crate) literals: HashSet<EntityUid>,
    pub(crate) action: bool,
    pub(crate) resource: bool,
    /// Templates that were read: all links have the condition of theirs.
    templates: HashSet<PolicyId>,
    /// Whether something in the policy that is being read was not understood.
    opaque: bool,
}

impl Reach {
    pub(crate) fn read(&mut self, policy: &Policy) {
        if !policy.has_non_scope_constraint() {
            return;
        }
        if policy.template_id().is_some_and(|template| !self.templates.insert(template.clone())) {
            return;
        }
        match policy.to_pst() {
            Ok(pst::Policy::Static(policy)) => self.clauses(policy.body()),
            Ok(pst::Policy::Linked(policy)) => self.clauses(policy.body()),
            Err(_) => self.opaque = true,
        }
        if std::mem::take(&mut self.opaque) {
            self.action = true;
            self.resource = true;
            self.literals.extend(policy.entity_literals());
        }
    }

    fn clauses(&mut self, body: &pst::Template) {
        for clause in body.clauses() {
            match clause {
                pst::Clause::When(condition) | pst::Clause::Unless(condition) => self.looks(condition),
            }
        }
    }

    /// An expression whose value may be looked into.
    fn looks(&mut self, expression: &pst::Expr) {
        use pst::{BinaryOp, Expr, Literal, Var};
        match expression {
            Expr::Literal(Literal::EntityUID(uid)) => self.literal(uid),
            Expr::Var(Var::Action) => self.action = true,
            Expr::Var(Var::Resource) => self.resource = true,
            Expr::BinaryOp { op: BinaryOp::Eq | BinaryOp::NotEq, left, right } => {
                self.compares(left);
                self.compares(right);
            }
            Expr::BinaryOp { op: BinaryOp::In, left, right } => {
                self.looks(left);
                self.compares(right);
            }
            Expr::BinaryOp {
                op: BinaryOp::Contains | BinaryOp::ContainsAll | BinaryOp::ContainsAny,
                left,
                right,
            } => {
                self.compares(left);
                self.compares(right);
            }
            Expr::Is { expr, in_expr, .. } => {
                match in_expr {
                    Some(group) => {
                        self.looks(expr);
                        self.compares(group);
                    }
                    // Of a type, any entity is by its name alone.
                    None => self.compares(expr),
                }
            }
            Expr::BinaryOp { left, right, .. } => {
                self.looks(left);
                self.looks(right);
            }
            Expr::UnaryOp { expr, .. }
            | Expr::GetAttr { expr, .. }
            | Expr::HasAttr { expr, .. }
            | Expr::Like { expr, .. } => self.looks(expr),
            Expr::IfThenElse { cond, then_expr, else_expr } => {
                self.looks(cond);
                self.looks(then_expr);
                self.looks(else_expr);
            }
            Expr::Set(items) => items.iter().for_each(|item| self.looks(item)),
            Expr::Record(fields) => fields.values().for_each(|field| self.looks(field)),
            Expr::Literal(_) | Expr::Var(_) | Expr::Slot(_) | Expr::Unknown { .. } => {}
            // An operator of another day: it may hold anything.
            _ => self.opaque = true,
        }
    }

    /// An expression whose value is only compared with another: an entity that stands there is not looked into.
    fn compares(&mut self, expression: &pst::Expr) {
        match expression {
            pst::Expr::Literal(_) | pst::Expr::Var(_) => {}
            pst::Expr::Set(items) => items.iter().for_each(|item| self.compares(item)),
            other => self.looks(other),
        }
    }

    fn literal(&mut self, uid: &pst::EntityUID) {
        match EntityTypeName::from_str(&uid.ty.to_string()) {
            Ok(kind) => {
                self.literals.insert(EntityUid::from_type_name_and_id(kind, EntityId::new(&uid.eid)));
            }
            Err(_) => self.opaque = true,
        }
    }
}
