"""The container image, from scratch: the program, two account files, a configuration and its folders.

One OCI layout in a tar file, for all given architectures: `podman load`, `skopeo copy oci-archive:...`, `docker load`.
"""

import json
import time

import about
from archive import Entry
from archive import gz
from archive import sha256
from archive import tar

USER = 200
HOME = "var/spool/mailroot"
CONFIG = """\
# Everybody can reach the container's port, so nobody is relayed for until access.relay names him:
#   docker run -e MAILROOT_PASSWORD mailroot run --listen 0.0.0.0:25 --set access.relay=172.16.0.0/12 --smart-host URL
[[listen]]
address = "0.0.0.0:25"
"""


def layer(binary):
    """The files of the image."""
    return [
        Entry("usr/sbin/mailroot", binary, 0o755),
        Entry("etc/mailroot.toml", CONFIG.encode()),
        Entry("etc/passwd", f"root:x:0:0::/:/\nmailroot:x:{USER}:{USER}::/{HOME}:/\n".encode()),
        Entry("etc/group", f"root:x:0:\nmailroot:x:{USER}:\n".encode()),
        Entry(HOME, mode=0o711, folder=True, owner=USER),
        Entry("tmp", mode=0o1777, folder=True),
        *(Entry(name, link=to) for name, to in about.NAMES.items()),
    ]


def build(binaries, when):
    """The bytes of the archive; `binaries` is a list of (platform, binary), a platform such as `arm/v7`."""
    blobs, manifests, loads = {}, [], []
    created = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(when))

    def blob(content):
        digest = sha256(content)
        blobs[digest] = content
        return {"digest": f"sha256:{digest}", "size": len(content)}

    def document(value):
        return json.dumps(value, sort_keys=True, indent=1).encode()

    for name, binary in binaries:
        plain = tar(layer(binary), when, prefix="")
        architecture, _, variant = name.partition("/")
        platform = {"architecture": architecture, "os": "linux"} | ({"variant": variant} if variant else {})
        config = platform | {
            "created": created,
            "config": {
                "User": f"{USER}:{USER}",
                "Entrypoint": ["/usr/sbin/mailroot"],
                "Cmd": ["run", "/etc/mailroot.toml"],
                "Volumes": {f"/{HOME}": {}},
                "ExposedPorts": {"25/tcp": {}},
                "StopSignal": "SIGTERM",
                "Labels": {
                    "org.opencontainers.image.title": "mailroot",
                    "org.opencontainers.image.version": about.VERSION,
                    "org.opencontainers.image.licenses": "MIT",
                    "org.opencontainers.image.source": about.HOMEPAGE,
                },
            },
            "rootfs": {"type": "layers", "diff_ids": [f"sha256:{sha256(plain)}"]},
            "history": [{"created": created, "created_by": "targets/package"}],
        }
        packed = blob(gz(plain))
        settings = blob(document(config))
        kind = "application/vnd.oci.image."
        manifest = {
            "schemaVersion": 2,
            "mediaType": kind + "manifest.v1+json",
            "config": settings | {"mediaType": kind + "config.v1+json"},
            "layers": [packed | {"mediaType": kind + "layer.v1.tar+gzip"}],
        }
        manifests.append(blob(document(manifest)) | {"mediaType": manifest["mediaType"], "platform": platform})
        loads.append({
            "Config": path(settings),
            "Layers": [path(packed)],
            "RepoTags": [f"mailroot:{about.VERSION}-{name.replace('/', '')}"],
        })

    # docker reads the index' first entry; podman and registries choose by platform.
    kind = "application/vnd.oci.image.index.v1+json"
    index = blob(document({"schemaVersion": 2, "mediaType": kind, "manifests": manifests}))
    names = {"org.opencontainers.image.ref.name": about.VERSION}
    top = {"schemaVersion": 2, "mediaType": kind, "manifests": [index | {"mediaType": kind, "annotations": names}]}
    entries = [
        Entry("oci-layout", document({"imageLayoutVersion": "1.0.0"})),
        Entry("index.json", document(top)),
        Entry("manifest.json", document(loads)),
        *(Entry(f"blobs/sha256/{digest}", content) for digest, content in blobs.items()),
    ]
    return tar(entries, when, prefix="")


def path(blob):
    """Where a blob lies in the archive."""
    return "blobs/" + blob["digest"].replace(":", "/")
