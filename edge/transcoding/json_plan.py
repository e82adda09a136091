"""The codec of compiled plans, and the choice between it and the reference."""

from collections.abc import Sequence

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.descriptor_pool import DescriptorPool

from edge.transcoding.codec import Codec, Decoder, Encoder, JsonOptions
from edge.transcoding.json_any import TypeResolver, type_resolver
from edge.transcoding.json_decode import DecodePlans
from edge.transcoding.json_encode import EncodePlans
from edge.transcoding.json_exact import ExactDecoder
from edge.transcoding.json_reference import ReferenceCodec
from edge.transcoding.schema import MessageShape, Schema, reachable


class UnsupportedShapeError(TypeError):
    """A message type that has no plan: one that is, or reaches, a proto1 MessageSet."""


class PlanCodec:
    """Compiles one plan per message type and set of options, shared by all that it is asked for.

    Raises `UnsupportedShapeError` for the few types that it has no plan for; `ChoosingCodec` takes the reference then.
    """

    def __init__(self, schema: Schema | None = None) -> None:
        self._schema = schema or Schema()
        self._supported: set[MessageShape] = set()
        self._resolvers: dict[DescriptorPool, TypeResolver] = {}
        self._decode: dict[tuple[DescriptorPool, JsonOptions], DecodePlans] = {}
        self._encode: dict[tuple[DescriptorPool, JsonOptions], EncodePlans] = {}

    def decoder(self, descriptor: Descriptor, options: JsonOptions) -> Decoder:
        """Return what parses a JSON object into a message; see `Codec`."""
        return self._decode_plans(descriptor.file.pool, options).decoder(self.shape(descriptor))

    def encoder(self, descriptor: Descriptor, options: JsonOptions) -> Encoder:
        """Return what writes a message as JSON; see `Codec`."""
        return self._encode_plans(descriptor.file.pool, options).encoder(self.shape(descriptor))

    def field_decoder(self, field: FieldDescriptor, options: JsonOptions) -> Decoder:
        """Return what parses the value of one field; see `Codec`."""
        self.shape(_owner(field))
        return self._decode_plans(_owner(field).file.pool, options).field_decoder(self._schema.field(field))

    def field_encoder(self, path: Sequence[FieldDescriptor], options: JsonOptions) -> Encoder:
        """Return what writes the field at the end of a path; see `Codec`."""
        self.shape(_owner(path[0]))
        shapes = [self._schema.field(field) for field in path]
        return self._encode_plans(_owner(path[0]).file.pool, options).field_encoder(shapes)

    def shape(self, descriptor: Descriptor) -> MessageShape:
        """Return the shape of a message type that has a plan."""
        shape = self._schema.message(descriptor)
        if shape not in self._supported:
            for inner in reachable(shape):
                if inner.descriptor.GetOptions().message_set_wire_format:
                    raise UnsupportedShapeError(f"{inner.descriptor.full_name} is a MessageSet")
            self._supported.add(shape)
        return shape

    def _resolver(self, pool: DescriptorPool) -> TypeResolver:
        resolver = self._resolvers.get(pool)
        if resolver is None:
            resolver = self._resolvers[pool] = type_resolver(pool)
        return resolver

    def _decode_plans(self, pool: DescriptorPool, options: JsonOptions) -> DecodePlans:
        plans = self._decode.get((pool, options))
        if plans is None:
            plans = DecodePlans(options, ExactDecoder(options, self._resolver(pool)))
            self._decode[pool, options] = plans
        return plans

    def _encode_plans(self, pool: DescriptorPool, options: JsonOptions) -> EncodePlans:
        plans = self._encode.get((pool, options))
        if plans is None:
            plans = self._encode[pool, options] = EncodePlans(options, self._resolver(pool))
        return plans


class ChoosingCodec:
    """Takes plans where there are any and the reference elsewhere; decided when compiling, never while serving."""

    def __init__(self, schema: Schema | None = None) -> None:
        self._plans = PlanCodec(schema)
        self._reference = ReferenceCodec()

    def decoder(self, descriptor: Descriptor, options: JsonOptions) -> Decoder:
        """Return what parses a JSON object into a message; see `Codec`."""
        return self._for(descriptor).decoder(descriptor, options)

    def encoder(self, descriptor: Descriptor, options: JsonOptions) -> Encoder:
        """Return what writes a message as JSON; see `Codec`."""
        return self._for(descriptor).encoder(descriptor, options)

    def field_decoder(self, field: FieldDescriptor, options: JsonOptions) -> Decoder:
        """Return what parses the value of one field; see `Codec`."""
        return self._for(_owner(field)).field_decoder(field, options)

    def field_encoder(self, path: Sequence[FieldDescriptor], options: JsonOptions) -> Encoder:
        """Return what writes the field at the end of a path; see `Codec`."""
        return self._for(_owner(path[0])).field_encoder(path, options)

    def _for(self, descriptor: Descriptor) -> Codec:
        try:
            self._plans.shape(descriptor)
        except UnsupportedShapeError:
            return self._reference
        return self._plans


def _owner(field: FieldDescriptor) -> Descriptor:
    assert field.containing_type is not None
    return field.containing_type
