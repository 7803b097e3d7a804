//! The search for an order of calls that explains their answers.

use std::collections::HashSet;

use super::model::{Answer, Model, Op};

/// One call, and when it began and ended.
#[derive(Clone, Copy, Debug)]
pub struct Call {
    pub op: Op,
    pub answer: Answer,
    pub began: u64,
    pub ended: u64,
}

impl Call {
    /// Whether two calls were under way at the same time.
    pub fn overlaps(&self, other: &Self) -> bool {
        self.began < other.ended && other.began < self.ended && self.began != other.began
    }
}

/// An order that agrees with the times and with the model.
pub fn order(calls: &[Call], model: Model) -> Option<Vec<usize>> {
    assert!(calls.len() <= 64, "the set of calls is a u64");
    let mut order = Vec::with_capacity(calls.len());
    search(calls, model, 0, &mut order, &mut HashSet::new()).then_some(order)
}

/// Depth first. What was tried in vain is not tried again.
fn search(calls: &[Call], model: Model, done: u64, order: &mut Vec<usize>, vain: &mut HashSet<(u64, Model)>) -> bool {
    if order.len() == calls.len() {
        return true;
    }
    if vain.contains(&(done, model.clone())) {
        return false;
    }
    let open = |i: &usize| done & 1 << i == 0;
    let first_end = (0..calls.len()).filter(open).map(|i| calls[i].ended).min().unwrap_or(u64::MAX);
    // A call that began after another had ended comes after it.
    for i in (0..calls.len()).filter(open).filter(|i| calls[*i].began <= first_end) {
        if let Some(next) = model.clone().after(calls[i].op, calls[i].answer) {
            order.push(i);
            if search(calls, next, done | 1 << i, order, vain) {
                return true;
            }
            order.pop();
        }
    }
    vain.insert((done, model));
    false
}

#[cfg(test)]
mod tests {
    use xmpp_sm::Epoch;

    use super::super::model::Rules;
    use super::*;

    #[test]
    fn an_answer_from_the_past_is_not_explained() {
        let register = Op::Register { smid: 0, owner: 0, handle: 7, now: 0 };
        let registered = Answer::Registered(Ok((Epoch::new(1), None)));
        let lookup = Op::Lookup { smid: 0, owner: 0, now: 0 };
        let history = |began, answer| {
            let first = Call { op: register, answer: registered, began: 0, ended: 2 };
            [first, Call { op: lookup, answer, began, ended: 4 }]
        };
        let explained = |began, answer| order(&history(began, answer), Model::new(Rules::default())).is_some();
        let session = |handle| Answer::Session(handle, Epoch::new(1));
        assert!(explained(3, session(7)));
        assert!(!explained(3, Answer::Session(7, Epoch::new(2))));
        assert!(!explained(3, Answer::NotFound));
        // At the same time, either may come first.
        assert!(explained(1, session(7)) && explained(1, Answer::NotFound));
        assert!(!explained(1, session(8)));
    }
}
