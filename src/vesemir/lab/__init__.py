"""The lab: private, real servers on loopback ports in one folder, for trying out and for tests (contract section 7).

``up`` starts RabbitMQ, PostgreSQL, HAProxy and N boxes with an sshd and a small application each; ``ending`` takes
them down again, whatever state they are in. Everything they need to know of each other stands in ``lab.json``.
"""
