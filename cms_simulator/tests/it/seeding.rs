//! The seed rows in a real Postgres, and the files that Docker's Postgres images load.

use sqlx::Executor;

use crate::postgres::Database;

#[tokio::test]
async fn seeding_gives_the_table_and_its_statistics() {
    let database = Database::with_fragrances(5000).await;
    let mut connection = database.connect().await;
    let (rows, names, untrimmed, nulls, first, last): (i64, i64, i64, i64, i32, i32) = sqlx::query_as(
        "select count(*), count(distinct name), count(*) filter (where name <> trim(name)),
                count(*) filter (where num_nulls(name, description, cost, forbidden) > 0),
                min(fragrance_id), max(fragrance_id)
         from fragrances",
    )
    .fetch_one(&mut connection)
    .await
    .unwrap();
    assert_eq!((rows, names, untrimmed, nulls, first, last), (5000, 3955, 1, 0, 0, 4999));
    let whole_costs: bool =
        sqlx::query_scalar("select bool_and(cost = trunc(cost) and cost between 0 and 100) from fragrances")
            .fetch_one(&mut connection)
            .await
            .unwrap();
    assert!(whole_costs);
    let next: i32 = sqlx::query_scalar("insert into fragrances (name) values ('New') returning fragrance_id")
        .fetch_one(&mut connection)
        .await
        .unwrap();
    assert_eq!(next, 5000);
}

/// `seed.sql` as it is, but for the way to the CSV.
#[tokio::test]
async fn the_files_for_docker_give_the_same_table_as_seeding() {
    let checksum = "select md5(string_agg(f::text, ';' order by fragrance_id))
                    || (select (last_value, is_called)::text from fragrances_fragrance_id_seq) from fragrances f";
    let seeded = Database::with_fragrances(5000).await;
    let expected: String = sqlx::query_scalar(checksum).fetch_one(&mut seeded.connect().await).await.unwrap();

    let loaded = Database::with_fragrances(1).await;
    let mut connection = loaded.connect().await;
    connection.execute("drop table fragrances").await.unwrap();
    connection.execute(include_str!("../../../database_config/schema.sql")).await.unwrap();
    let (copy, rest) = include_str!("../../../database_config/seed.sql").split_once(';').unwrap();
    let copy = copy.replace("'/docker-entrypoint-initdb.d/fragrances.csv'", "stdin");
    let copy = copy.lines().filter(|line| !line.starts_with("--")).collect::<Vec<_>>().join("\n");
    let mut copying = connection.copy_in_raw(&copy).await.unwrap();
    copying.send(include_bytes!("../../../database_config/fragrances.csv").as_slice()).await.unwrap();
    copying.finish().await.unwrap();
    connection.execute(rest).await.unwrap();

    let actual: String = sqlx::query_scalar(checksum).fetch_one(&mut connection).await.unwrap();
    assert_eq!(actual, expected);
}
