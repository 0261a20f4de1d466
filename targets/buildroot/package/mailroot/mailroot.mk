################################################################################
#
# mailroot
#
################################################################################

# The static program that targets/build made: it needs a newer Rust than Buildroot brings, and nothing of the image.
#
#   targets/build armv7 && targets/package armv7
#   make BR2_EXTERNAL=.../mailroot/targets/buildroot menuconfig     (External options, mailroot)

MAILROOT_TOP = $(BR2_EXTERNAL_MAILROOT_PATH)/../..
MAILROOT_VERSION = $(shell sed -n 's/^version = "\(.*\)"/\1/p' $(MAILROOT_TOP)/Cargo.toml | head -n 1)
MAILROOT_SITE = $(MAILROOT_TOP)/target/packages
MAILROOT_SITE_METHOD = file
MAILROOT_SOURCE = mailroot-$(MAILROOT_VERSION)-$(MAILROOT_TARGET)
MAILROOT_LICENSE = MIT

ifeq ($(BR2_x86_64),y)
MAILROOT_TARGET = x86_64-unknown-linux-musl
else ifeq ($(BR2_i386),y)
MAILROOT_TARGET = i686-unknown-linux-musl
else ifeq ($(BR2_aarch64),y)
MAILROOT_TARGET = aarch64-unknown-linux-musl
else ifeq ($(BR2_ARM_CPU_ARMV7A)$(BR2_ARM_EABIHF),yy)
MAILROOT_TARGET = armv7-unknown-linux-musleabihf
else ifeq ($(BR2_ARM_CPU_ARMV6)$(BR2_ARM_EABIHF),yy)
MAILROOT_TARGET = arm-unknown-linux-musleabihf
else ifeq ($(BR2_arm),y)
MAILROOT_TARGET = armv5te-unknown-linux-musleabi
else ifeq ($(BR2_RISCV_64),y)
MAILROOT_TARGET = riscv64gc-unknown-linux-musl
else ifeq ($(BR2_mipsel),y)
MAILROOT_TARGET = mipsel-unknown-linux-musl
endif

define MAILROOT_EXTRACT_CMDS
	cp $(MAILROOT_DL_DIR)/$(MAILROOT_SOURCE) $(@D)/mailroot
endef

define MAILROOT_INSTALL_TARGET_CMDS
	$(INSTALL) -D -m 0755 $(@D)/mailroot $(TARGET_DIR)/usr/sbin/mailroot
	mkdir -p $(TARGET_DIR)/usr/bin $(TARGET_DIR)/usr/lib
	ln -sf mailroot $(TARGET_DIR)/usr/sbin/sendmail
	ln -sf ../sbin/mailroot $(TARGET_DIR)/usr/lib/sendmail
	ln -sf ../sbin/mailroot $(TARGET_DIR)/usr/bin/mailq
	ln -sf ../sbin/mailroot $(TARGET_DIR)/usr/bin/newaliases
	test -e $(TARGET_DIR)/etc/mailroot.toml || \
		$(INSTALL) -D -m 0644 $(MAILROOT_TOP)/targets/packages/deb/mailroot.toml $(TARGET_DIR)/etc/mailroot.toml
endef

# The service's file as `mailroot install` would write it: $(1) is its template, $(2) its place, $(3) its mode.
define MAILROOT_SERVICE
	$(INSTALL) -D -m $(3) $(MAILROOT_TOP)/targets/services/$(1) $(TARGET_DIR)/$(2)
	$(SED) 's,@PROGRAM@,/usr/sbin/mailroot,; s,@CONFIG@,/etc/mailroot.toml,; s,@HOME@,/var/spool/mailroot,; s,@USER@,mailroot,' \
		$(TARGET_DIR)/$(2)
endef

define MAILROOT_INSTALL_INIT_SYSV
	$(call MAILROOT_SERVICE,busybox,etc/init.d/S80mailroot,0755)
endef

define MAILROOT_INSTALL_INIT_OPENRC
	$(call MAILROOT_SERVICE,openrc,etc/init.d/mailroot,0755)
endef

define MAILROOT_INSTALL_INIT_SYSTEMD
	$(call MAILROOT_SERVICE,systemd.service,usr/lib/systemd/system/mailroot.service,0644)
endef

define MAILROOT_USERS
	mailroot -1 mailroot -1 * /var/spool/mailroot - - mail service
endef

define MAILROOT_PERMISSIONS
	/var/spool/mailroot d 711 mailroot mailroot - - - - -
endef

$(eval $(generic-package))
