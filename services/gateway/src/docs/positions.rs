//! Positions: which answers tell one, and which reads take one. The layers around the handlers do both, so no handler describes them.

use utoipa::openapi::path::{Operation, ParameterBuilder, ParameterIn};
use utoipa::openapi::schema::Type;
use utoipa::openapi::{HeaderBuilder, KnownFormat, ObjectBuilder, OpenApi, RefOr, SchemaFormat};
use waybill_edge::position::PARAMETER;

use super::operations;

/// Operations that append to the log of tasks before they answer.
const WRITES: [&str; 10] = [
    "tasks.task.create",
    "tasks.task.create_batch",
    "tasks.task.cancel",
    "tasks.task.delete",
    "tasks.task.run_now",
    "tasks.task.replay",
    "tasks.webhook.redeliver",
    "tasks.dead_letter.retry",
    "tasks.task.change",
    "tasks.task.unblock",
];
/// Operations that read what was made of that log.
const READS: [&str; 8] = [
    "tasks.task.get",
    "tasks.task.list",
    "tasks.result.get",
    "tasks.task.explain",
    "tasks.dead_letter.list",
    "tasks.dead_letter.group",
    "work.stats.get",
    "work.queue.get",
];

/// Adds the header to the answers of writes, and the parameter to reads.
pub(super) fn complete(api: &mut OpenApi) {
    for operation in operations(&mut api.paths) {
        let id = operation.operation_id.as_deref().unwrap_or_default();
        if WRITES.contains(&id) {
            tell(operation);
        } else if READS.contains(&id) {
            take(operation);
        }
    }
}

fn position() -> ObjectBuilder {
    ObjectBuilder::new()
        .schema_type(Type::Integer)
        .format(Some(SchemaFormat::KnownFormat(KnownFormat::Int64)))
        .minimum(Some(0))
}

fn tell(operation: &mut Operation) {
    let answers = operation.responses.responses.iter_mut();
    for (_, answer) in answers.filter(|(status, _)| status.starts_with('2')) {
        let RefOr::T(answer) = answer else { continue };
        let header = HeaderBuilder::new()
            .schema(Some(position()))
            .description(Some(
                "Position of the log at which this is stored: a read with it in `at` knows of it",
            ))
            .build();
        answer
            .headers
            .insert("Waybill-Position".to_owned(), RefOr::T(header));
    }
}

fn take(operation: &mut Operation) {
    let at = ParameterBuilder::new()
        .name(PARAMETER)
        .parameter_in(ParameterIn::Query)
        .schema(Some(position()))
        .description(Some(
            "`Waybill-Position` of an earlier answer, of any gateway: the read waits until it knows of that",
        ))
        .build();
    let parameters = operation.parameters.get_or_insert_default();
    parameters.push(at.into());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_operations_exist() {
        let mut api = crate::docs::openapi();
        let known: Vec<_> = operations(&mut api.paths)
            .filter_map(|operation| operation.operation_id.clone())
            .collect();
        for id in WRITES.into_iter().chain(READS) {
            assert!(known.iter().any(|one| one == id), "{id}");
        }
    }
}
