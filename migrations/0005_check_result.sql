-- What was measured of a table, each time: passes too, so that there is a history to plot.

create table accord.check_run (
    id          bigint generated always as identity primary key,
    pipeline    text not null,
    contract    text not null,
    started_at  timestamptz not null default now(),
    finished_at timestamptz,
    error       text
);
create index check_run_pipeline on accord.check_run (pipeline, id);

create table accord.check_result (
    run         bigint not null references accord.check_run on delete cascade,
    n           integer not null,
    rule        text not null,
    name        text not null,
    dimension   text not null,
    severity    text not null,
    outcome     text not null check (outcome in ('passed', 'warned', 'failed', 'not_executed')),
    value       jsonb,
    unit        text not null,
    threshold   jsonb not null,
    rows        bigint,
    keys        text[] not null,
    sql         text,
    reason      text,
    duration_ms double precision not null,
    primary key (run, n)
);
