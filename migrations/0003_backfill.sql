-- How far the first fill of a pipeline's table is: the key after which it goes on.
create table accord.backfill (
    pipeline    smallint primary key references accord.pipeline,
    after       text[], -- the parts of the last key that is settled, as the reference spells them
    rows        bigint not null default 0,
    started_at  timestamptz not null default clock_timestamp(),
    finished_at timestamptz
);
