include $(sort $(wildcard $(BR2_EXTERNAL_MAILROOT_PATH)/package/*/*.mk))
