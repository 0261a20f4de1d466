SUMMARY = "Mail slot for machines: sendmail, SMTP, pickup folder, durable queue, smart host"
LICENSE = "MIT"
LIC_FILES_CHKSUM = "file://${MAILROOT_TOP}/src/LICENSE;md5=03bf1de1defc45268ddbc83999fcf6ae"

# The static program that `targets/build TARGET && targets/package TARGET` made: it needs a newer Rust than the layers
# bring, and nothing of the image.
MAILROOT_TARGET:x86-64 = "x86_64-unknown-linux-musl"
MAILROOT_TARGET:x86 = "i686-unknown-linux-musl"
MAILROOT_TARGET:aarch64 = "aarch64-unknown-linux-musl"
MAILROOT_TARGET:armv5 = "armv5te-unknown-linux-musleabi"
MAILROOT_TARGET:armv6 = "arm-unknown-linux-musleabihf"
MAILROOT_TARGET:armv7a = "armv7-unknown-linux-musleabihf"
MAILROOT_TARGET:armv7ve = "armv7-unknown-linux-musleabihf"
MAILROOT_TARGET:riscv64 = "riscv64gc-unknown-linux-musl"
MAILROOT_TARGET:mipsel = "mipsel-unknown-linux-musl"

MAILROOT_SERVICES = "${MAILROOT_TOP}/targets/services"
SRC_URI = " \
    file://${MAILROOT_TOP}/target/packages/mailroot-${PV}-${MAILROOT_TARGET} \
    file://${MAILROOT_TOP}/targets/packages/deb/mailroot.toml \
    file://${MAILROOT_SERVICES}/systemd.service \
    file://${MAILROOT_SERVICES}/busybox \
"

inherit systemd update-rc.d update-alternatives useradd

USERADD_PACKAGES = "${PN}"
USERADD_PARAM:${PN} = "--system --user-group --home-dir ${localstatedir}/spool/mailroot --shell /bin/false mailroot"
SYSTEMD_SERVICE:${PN} = "mailroot.service"
INITSCRIPT_NAME = "mailroot"
INITSCRIPT_PARAMS = "defaults 80 20"

ALTERNATIVE:${PN} = "sendmail mailq newaliases"
ALTERNATIVE_PRIORITY = "100"
ALTERNATIVE_TARGET = "${sbindir}/mailroot"
ALTERNATIVE_LINK_NAME[sendmail] = "${sbindir}/sendmail"
ALTERNATIVE_LINK_NAME[mailq] = "${bindir}/mailq"
ALTERNATIVE_LINK_NAME[newaliases] = "${bindir}/newaliases"

do_configure[noexec] = "1"
do_compile[noexec] = "1"

do_install() {
    found=$(find ${WORKDIR} ${UNPACKDIR} -name mailroot-${PV}-${MAILROOT_TARGET} -type f | head -n 1)
    install -D -m 0755 $found ${D}${sbindir}/mailroot
    install -D -m 0644 ${MAILROOT_TOP}/targets/packages/deb/mailroot.toml ${D}${sysconfdir}/mailroot.toml
    install -D -m 0644 ${MAILROOT_SERVICES}/systemd.service ${D}${systemd_system_unitdir}/mailroot.service
    install -D -m 0755 ${MAILROOT_SERVICES}/busybox ${D}${sysconfdir}/init.d/mailroot
    sed -i 's,@PROGRAM@,${sbindir}/mailroot,; s,@CONFIG@,${sysconfdir}/mailroot.toml,; s,@USER@,mailroot,; s,@HOME@,${localstatedir}/spool/mailroot,' \
        ${D}${systemd_system_unitdir}/mailroot.service ${D}${sysconfdir}/init.d/mailroot
    install -d -o mailroot -g mailroot -m 0711 ${D}${localstatedir}/spool/mailroot
}

CONFFILES:${PN} = "${sysconfdir}/mailroot.toml"
INHIBIT_PACKAGE_STRIP = "1"
INSANE_SKIP:${PN} = "already-stripped ldflags"
