"""The D-Bus object: methods, properties, who may call them, what they answer."""
