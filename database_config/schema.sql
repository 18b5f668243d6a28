-- The table that the CMS and the library both start from.
create table fragrances (
    fragrance_id serial primary key,
    name         varchar(150),
    description  varchar(1024),
    cost         numeric,
    forbidden    boolean default false
);
