// A copy of the leading 10 bits of dz, written as dz is loaded: clamp((dz + 32) >> 6, -511, 511). Words (4 channels) lie in the
// order of the load, word n of a half in bank n mod 2, so that any two neighbours can be read in a cycle.
`default_nettype none

module jb_predictor_gradients #(
  parameter int BankDepth = 512  // of the dz buffer; a half holds 8 * BankDepth words
) (
  input  wire logic                           clk_i,
  input  wire logic                           load_valid_i,
  input  wire logic                           load_half_i,
  input  wire logic                           load_first_i,  // the tile's first word
  input  wire logic [63:0]                    load_data_i,
  // Words address_i and address_i + 1, 3 cycles after the address
  input  wire logic                           half_i,
  input  wire logic [$clog2(8*BankDepth)-1:0] address_i,
  output      logic [79:0]                    words_o
);
  localparam int AddressBits = $clog2(8 * BankDepth);

  logic [AddressBits-1:0] load_address_q, load_next_q;
  logic load_valid_q, load_half_q;
  logic [39:0] load_word_q, even, odd;
  logic [AddressBits-1:0] next_address;
  logic [AddressBits-2:0] even_address_q, odd_address_q;
  logic half_q, swap_q, swap_q2;

  always_ff @(posedge clk_i) begin
    load_valid_q <= load_valid_i;
    load_half_q  <= load_half_i;
    if (load_valid_i) begin
      load_address_q <= load_first_i ? '0 : load_next_q;
      load_next_q    <= load_first_i ? AddressBits'(1) : load_next_q + 1'b1;
    end
  end

  for (genvar c = 0; c < 4; c++) begin : gen_round
    logic signed [10:0] rounded;
    assign rounded = 11'($signed(load_data_i[16*c+6+:10])) + 11'(load_data_i[16*c+5]);
    always_ff @(posedge clk_i) begin
      if (rounded == 11'sd512) load_word_q[10*c+:10] <= 10'sd511;
      else if (rounded == -11'sd512) load_word_q[10*c+:10] <= -10'sd511;
      else load_word_q[10*c+:10] <= rounded[9:0];
    end
  end

  assign next_address = address_i + 1'b1;

  always_ff @(posedge clk_i) begin
    half_q         <= half_i;
    even_address_q <= next_address[AddressBits-1:1];
    odd_address_q  <= address_i[AddressBits-1:1];
    swap_q         <= address_i[0];
    swap_q2        <= swap_q;
    words_o        <= swap_q2 ? {even, odd} : {odd, even};
  end

  for (genvar slice = 0; slice < 5; slice++) begin : gen_slice  // 8 bits: with 4096 words one RAMB36 each
    jb_predictor_ram #(
      .Width(8),
      .Depth(8 * BankDepth)
    ) u_even (
      .clk_i,
      .write_i        (load_valid_q && !load_address_q[0]),
      .write_address_i({load_half_q, load_address_q[AddressBits-1:1]}),
      .write_data_i   (load_word_q[8*slice+:8]),
      .read_i         (1'b1),
      .read_address_i ({half_q, even_address_q}),
      .read_data_o    (even[8*slice+:8])
    );

    jb_predictor_ram #(
      .Width(8),
      .Depth(8 * BankDepth)
    ) u_odd (
      .clk_i,
      .write_i        (load_valid_q && load_address_q[0]),
      .write_address_i({load_half_q, load_address_q[AddressBits-1:1]}),
      .write_data_i   (load_word_q[8*slice+:8]),
      .read_i         (1'b1),
      .read_address_i ({half_q, odd_address_q}),
      .read_data_o    (odd[8*slice+:8])
    );
  end

  logic unused;
  assign unused = ^{load_data_i, next_address[0]};
endmodule

`default_nettype wire
