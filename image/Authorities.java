import java.io.InputStream;
import java.io.OutputStream;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.KeyStore;
import java.security.cert.CertificateFactory;
import java.util.List;

/** Writes a trust store with the certificates in a folder: always the same bytes, without a password, which would hide nothing. */
class Authorities {
  public static void main(String[] args) throws Exception {
    System.setProperty("keystore.pkcs12.certProtectionAlgorithm", "NONE");
    System.setProperty("keystore.pkcs12.macAlgorithm", "NONE");
    KeyStore store = KeyStore.getInstance("PKCS12");
    store.load(null, null);
    List<Path> files;
    try (var found = Files.list(Path.of(args[0]))) {
      files = found.sorted().toList();
    }
    for (Path file : files) {
      try (InputStream in = Files.newInputStream(file)) {
        store.setCertificateEntry(file.getFileName().toString(), CertificateFactory.getInstance("X.509").generateCertificate(in));
      }
    }
    Path target = Path.of(args[1]);
    Files.deleteIfExists(target);
    try (OutputStream out = Files.newOutputStream(target)) {
      store.store(out, null);
    }
  }
}
