//! Protobuf in buffers of the size that our messages have.
//!
//! The library's codec sets 8 KiB aside for each request and for each answer before it knows of
//! either. Most of ours are a few hundred bytes, and calls may wait in great numbers.

use std::marker::PhantomData;

use prost::Message;
use tonic::codec::BufferSettings;
use tonic_prost::ProstCodec;

/// What is set aside at first; a larger message makes its buffer grow.
const USUAL: usize = 512;

/// A stream of answers is handed on when so much of it waits, as by the library's own codec.
const HANDED_ON: usize = 32 * 1024;

/// Encodes `T` and decodes `U`, as [`ProstCodec`] does.
#[derive(Debug, Clone, Copy)]
pub struct Codec<T, U>(PhantomData<fn() -> (T, U)>);

impl<T, U> Default for Codec<T, U> {
    fn default() -> Self {
        Codec(PhantomData)
    }
}

impl<T, U> tonic::codec::Codec for Codec<T, U>
where
    T: Message + Send + 'static,
    U: Message + Default + Send + 'static,
{
    type Encode = T;
    type Decode = U;
    type Encoder = <ProstCodec<T, U> as tonic::codec::Codec>::Encoder;
    type Decoder = <ProstCodec<T, U> as tonic::codec::Codec>::Decoder;

    fn encoder(&mut self) -> Self::Encoder {
        ProstCodec::<T, U>::raw_encoder(settings())
    }

    fn decoder(&mut self) -> Self::Decoder {
        ProstCodec::<T, U>::raw_decoder(settings())
    }
}

fn settings() -> BufferSettings {
    BufferSettings::new(USUAL, HANDED_ON)
}
