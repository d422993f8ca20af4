package sql;

import io.zonky.test.db.postgres.embedded.EmbeddedPostgres;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.sql.Connection;
import java.sql.SQLException;
import java.sql.Statement;
import java.time.Duration;

/** A PostgreSQL with a table of flights, and a role that needs its password: {@code java … sql.Database PORT FOLDER}. */
final class Database {
    private Database() {}

    static EmbeddedPostgres start(int port, Path folder) throws IOException, SQLException {
        Path access = Files.writeString(folder.resolve("pg_hba.conf"),
                "host all postgres 127.0.0.1/32 trust\nhost all all 127.0.0.1/32 scram-sha-256\n");
        EmbeddedPostgres.Builder builder = EmbeddedPostgres.builder().setOverrideWorkingDirectory(folder.resolve("program").toFile())
                .setDataDirectory(folder.resolve("data")).setCleanDataDirectory(false)
                .setServerConfig("hba_file", access.toString()).setServerConfig("unix_socket_directories", "")
                .setPGStartupWait(Duration.ofMinutes(1));
        // Behind another port, so that who waits for this one finds all that is there.
        try (EmbeddedPostgres made = builder.start(); Connection connection = made.getPostgresDatabase().getConnection();
                Statement statement = connection.createStatement()) {
            statement.execute("create role flyte login password 'hush'");
            statement.execute("create table flights as select n as id, 'JFK' as airport, n * 1.5::float8 as delay from generate_series(1, 3) n");
            statement.execute("grant select on flights to flyte");
        }
        return builder.setPort(port).start();
    }

    public static void main(String[] args) throws Exception {
        start(Integer.parseInt(args[0]), Path.of(args[1]));
        Thread.currentThread().join(); // until SIGTERM, with which the database ends
    }
}
