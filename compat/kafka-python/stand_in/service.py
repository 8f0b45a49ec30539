"""Stands in for the file of this name that kafka-python's distribution leaves out: a broker that runs already."""


class ExternalService:
    def __init__(self, host, port):
        self.host, self.port = host, port

    def open(self):
        pass

    def stop(self):
        pass

    def dump_logs(self):
        pass


class SpawnedService(ExternalService):
    def __init__(self, *arguments, **environment):
        raise RuntimeError("this suite runs against the broker that KAFKA_URI names")
